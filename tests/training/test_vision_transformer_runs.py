"""Whole runs on vision transformers: kept prefixes, augmented images, and answers that do not depend on the batch."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import KILLED, in_child, quiet, snapshot
from together import together

from plora.batches.plan import plan_scoring
from plora.build import build
from plora.cache import PREFIX_CACHE_GIB
from plora.config import RunConfig, load_config
from plora.model import ContinualModel
from plora.problems import Batch
from plora.results import ClassRankings, read_curves
from plora.runs import resume, run, verify
from plora.runs.loading import load_learner

pytest.importorskip("kornia")

AUGMENT = "problem.augment={crop: [0.3, 1], flip: true, colour: 0.3}"
VALUES = {
    "name": "images",
    "problem": {"kind": "image_classification"},
    "stream": {"kind": "digits", "held_back": 0.95, "per_task": 5, "validation_fraction": 0.2},
    "scenario": "class",
    "method": "sequential",
    "backbone": {
        "kind": "new",
        "network": {
            "model_type": "vit",
            "num_channels": 1,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "image_size": 8,
            "patch_size": 4,
        },
        "image": {"size": 8, "mean": [0.5], "std": [0.5]},
    },
    "lora": {"rank": 2, "targets": "attention:qv", "dropout": 0.0},
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.002, "log_every": 1, "checkpoint_seconds": 0},
}
Config = Callable[..., RunConfig]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return lambda place, *overrides: load_config({**VALUES, "output": str(tmp_path / place)}, overrides)


def assert_near(left: Path, right: Path, tolerance: float = 1e-5) -> None:
    """The same losses and probabilities up to a tolerance, and the same predictions."""
    for one, other in zip(*(read_curves(path / "curves.jsonl") for path in (left, right)), strict=True):
        assert one.terms == pytest.approx(other.terms, rel=tolerance, abs=tolerance)
    found = sorted(left.glob("predictions/*.parquet"))
    assert len(found) > 1
    for path in found:
        one, other = ClassRankings.read(path), ClassRankings.read(right / "predictions" / path.name)
        np.testing.assert_array_equal(one.prediction, other.prediction)
        np.testing.assert_allclose(np.sort(one.probabilities), np.sort(other.probabilities), atol=tolerance)


def losses(folder: Path) -> list[float]:
    return [point.loss for point in read_curves(folder / "curves.jsonl")]


# ---------------------------------------------------------------------- what enters the first adapted block


def test_a_run_from_kept_states_is_the_run_that_computes_every_block(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = ("lora.layers=last 1", "method=replay")
    monkeypatch.setenv(PREFIX_CACHE_GIB, "0")
    computed = run(config("computed", *last), quiet())
    monkeypatch.delenv(PREFIX_CACHE_GIB)
    kept = run(config("kept", *last))
    assert "event=prefix_cached blocks=1" in (kept / "log.txt").read_text()
    assert "does not start from kept states" not in (kept / "log.txt").read_text()
    assert_near(kept, computed)


# ---------------------------------------------------------------------- augmented images


def test_micro_batches_have_no_part_in_what_chance_does(config: Config) -> None:
    settings = ("method=replay", "training.epochs=1")
    whole = run(config("whole", AUGMENT, *settings), quiet())
    assert_near(whole, run(config("parts", AUGMENT, *settings, "training.micro_batch_size=3"), quiet()))
    plain = run(config("plain", *settings), quiet())
    assert np.abs(np.subtract(losses(whole), losses(plain))).max() > 1e-4  # ten times what may differ above


@pytest.mark.slow
def test_processes_have_no_part_in_what_chance_does(config: Config, tmp_path: Path) -> None:
    settings = (AUGMENT, "method=replay")
    several = config("several", *settings, "training.micro_batch_size=3")
    assert together(2, lambda _: run(several, quiet()), tmp_path / "place") == [0, 0]
    assert_near(run(config("whole", *settings), quiet()), several.folder)
    assert verify(several.folder).problems == ()


def test_an_augmented_run_that_was_killed_ends_with_the_same_bits(config: Config) -> None:
    settings = (AUGMENT, "method=lwf", "training.epochs=3")
    expected = snapshot(run(config("whole", *settings), quiet()))
    killed = config("killed", *settings)
    assert in_child(lambda: run(killed, quiet()), "step:4") == KILLED
    assert in_child(lambda: resume(killed.folder, quiet())) == 0
    assert snapshot(killed.folder) == expected


def test_what_is_augmented_starts_from_no_kept_states(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image is another in each epoch; what is scored is as without augmentation, and may start from them."""
    seen: list[torch.Tensor] = []
    original = ContinualModel.outputs

    def watched(model: ContinualModel, batch: Batch, *rest: object) -> dict[str, torch.Tensor]:
        pixels = batch.inputs["pixel_values"]
        seen.extend(pixels if torch.is_grad_enabled() else [])
        states: list[torch.Tensor] = []
        hook = model.backbone.layers[0].layernorm_before.register_forward_hook(lambda *found: states.append(found[2]))
        outputs = original(model, batch, *rest)  # type: ignore[arg-type]
        hook.remove()
        assert len(states) == 1  # the first block computes
        return outputs

    monkeypatch.setattr(ContinualModel, "outputs", watched)
    settings = ("lora.layers=last 1", "training.epochs=3")
    folder = run(config("augmented", AUGMENT, *settings))
    assert len(seen) > 16
    assert len({image.numpy().tobytes() for image in seen}) == len(seen)
    found = re.findall(r"event=prefix_cached .*inputs=(\d+)", (folder / "log.txt").read_text())
    sizes = [len(split) for task in build(config("again", *settings)).tasks for _, split in task.splits.items()]
    assert found
    assert set(map(int, found)) <= set(sizes)


# ---------------------------------------------------------------------- answers


def test_answers_do_not_depend_on_the_batch(config: Config) -> None:
    source = run(config("source", "method=o_lora", "training.learning_rate=0.05"), quiet())
    learner = load_learner(source)[0]
    model, examples = learner.model, learner.model.problem.encode(config("source").stream.load().tasks[0].test)
    number = len(examples)
    assert number > 14

    @torch.inference_mode()
    def scores(batches: list[np.ndarray]) -> torch.Tensor:
        found = torch.zeros(number, 10)
        for indices in batches:
            found[torch.from_numpy(indices)] = model.head(model.features(examples.collate(indices).inputs, None))
        return found

    every = np.arange(number)
    alone = scores([every[i : i + 1] for i in range(number)])
    assert alone.std(0).min() > 1e-3
    shuffled = np.random.default_rng(0).permutation(number)
    for batches in (
        [every[i : i + 7] for i in range(0, number, 7)],
        [every[i : i + 128] for i in range(0, number, 128)],
        [shuffled[i : i + 7] for i in range(0, number, 7)],
        plan_scoring(examples.costs, 64),
    ):
        torch.testing.assert_close(scores(batches), alone, rtol=0, atol=1e-5)
    assert examples.costs.tolist() == [5] * number  # four patches and the first token
    assert json.loads((source / "results.json").read_text())["tasks"]
