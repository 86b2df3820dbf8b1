"""Chance changes image and map alike where they are learned, and what they weigh follows."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "training"))

from killing import quiet
from test_semantic_segmentation import batch_of, network, problem_of
from tiny_scenes import VALUES, scenes

from plora.build import Workspace
from plora.config import load_config
from plora.results import read_curves
from plora.runs import run
from plora.streams.labelled_images import IGNORED
from plora.testing import check_problem

AUGMENT = {"scale": [0.5, 2.0], "flip": True, "colour": 0.2}
CHANGED = '{"scale": [0.3, 0.6], "flip": true}'

Losses = Callable[[str, int], list[float]]


@pytest.mark.parametrize("answer", ["queries", "patches"])
def test_it_keeps_what_a_problem_promises(answer: str) -> None:
    backbone = network()
    check_problem(problem_of(backbone, answer=answer, augment=AUGMENT), scenes(4, 0), backbone.network)


def test_a_map_follows_its_image_and_is_scored_as_it_was() -> None:
    """Of images whose colour says the class, it still does after both were scaled, cut and mirrored."""
    problem = problem_of(network(), augment={"scale": [0.5, 2.0], "flip": True})
    split = scenes(6, 0)
    plain = batch_of(problem, split, 3)
    changed = problem.augmented(plain, 3)
    red = problem.layout.preparation.pixels(changed.inputs["pixel_values"])[:, 0]
    maps = changed.targets["classes"]
    assert not torch.equal(maps, plain.targets["classes"])
    assert red[maps == 1].mean() > 0.7 > 0.3 > red[maps == 2].mean()  # 210 of 255, and 60
    assert set(maps.unique().tolist()) <= {0, 1, 2, IGNORED}
    again = problem.augmented(batch_of(problem, split, 3), 3)
    assert torch.equal(again.targets["classes"], maps)
    assert not torch.equal(problem.augmented(plain, 4).targets["classes"], maps)
    masks = [len(set(one.unique().tolist()) - {IGNORED}) for one in maps]
    assert changed.weights["mask"] == sum(masks)
    assert plain.weights["mask"] == 3 * 6


@pytest.fixture
def losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Losses:
    """The losses of each step of a run, augmented or not, in micro-batches of a size."""
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")

    def learned(augment: str, micro: int) -> list[float]:
        settings = ("stream.tasks=1", "stream.number=8", "training.log_every=1", "training.epochs=1", "method=full")
        own = (f"problem.augment={augment}", f"training.micro_batch_size={micro}", "problem.answer=patches")
        config = load_config(VALUES, [f"output={tmp_path / f'{micro}-{augment == CHANGED}'}", *settings, *own])
        return [point.loss for point in read_curves(run(config, quiet(), Workspace()) / "curves.jsonl")]

    return learned


def test_a_step_is_divided_by_what_is_left_of_its_maps_whatever_its_micro_batches(losses: Losses) -> None:
    """Small images stand in black that is ignored; divided by all pixels, a loss per pixel would be a third of it."""
    whole, parts, plain = losses(CHANGED, 4), losses(CHANGED, 1), losses("null", 4)
    np.testing.assert_allclose(whole, parts, rtol=1e-4)
    assert whole[0] != pytest.approx(plain[0], rel=1e-3)
    assert whole[0] > 0.6 * plain[0]
