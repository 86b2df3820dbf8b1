"""Slots that every task trains under a head which is solved afterwards over the features that they give."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from killing import KILLED, in_child, quiet, snapshot
from tiny_images import VALUES, new_backbone

from plora.build import Workspace, build
from plora.config import RunConfig, load_config
from plora.events.console import Console
from plora.heads.drift import linear_drift
from plora.results import read_record
from plora.results.record.manifest import read_chain
from plora.run_folder.checkpoint import load_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, forget, predict, resume, run, verify
from plora.strategies.ewc import EWC
from plora.training import phase
from plora.training.stream import learn_stream

Config = Callable[..., RunConfig]


@pytest.mark.parametrize(
    ("scenario", "method", "settings"),
    [
        ("task", "per_task", ("head=klda",)),
        pytest.param("class", "routed", ("head=spread",), marks=pytest.mark.slow),
        pytest.param("class", "ewc_lora", ("head=ranpac",), marks=pytest.mark.slow),
        pytest.param("class", "o_lora", ("head=ridge", "drift=linear"), marks=pytest.mark.slow),
        pytest.param("class", "gumbel_cl_lora", ("head=ncm", "drift=linear"), marks=pytest.mark.slow),
        pytest.param("class", "merged_ties", ("head=klda", "drift=linear"), marks=pytest.mark.slow),
        pytest.param("class", "joint", ("head=ranpac",), marks=pytest.mark.slow),
        pytest.param("task", "n_lora", ("head=spread", "drift=linear"), marks=pytest.mark.slow),
    ],
)
def test_texts_are_learned_recorded_and_reloaded(
    toy_config: Config, scenario: str, method: str, settings: tuple[str, ...]
) -> None:
    folder = run(toy_config(f"scenario={scenario}", f"method={method}", *settings), quiet())
    record = read_record(folder)
    learned = record.matrix[-1] if method == "joint" else record.matrix[1:].diagonal()
    assert learned.mean() > 0.75
    assert evaluate(folder).changed == 0
    assert verify(folder).problems == ()
    kept = 1 if method in ("joint", "gumbel_cl_lora") else 3
    assert len([*(folder / "slots").iterdir()]) >= kept  # every task trains a slot
    if method in ("per_task", "routed"):  # the features of a task stay, and each is solved alone
        assert record.metrics["forgetting"].value == 0


def test_sums_that_follow_the_features_keep_old_images_known(tmp_path: Path) -> None:
    """Both tasks are digits, so what the second moves it moves alike in the first."""
    values = {
        **VALUES,
        "scenario": "class",
        "method": "o_lora",
        "head": "ridge",
        "backbone": new_backbone("resnet", channels=1),
        "lora": {"rank": 2, "alpha": 4, "targets": "all_conv"},
        "training": {"epochs": 5, "batch_size": 16, "learning_rate": 0.02},
        "output": str(tmp_path),
    }
    found = {}
    for drift in ("none", "linear"):
        config = load_config(values, [f"drift={drift}", f"name={drift}", "stream.held_back=0.7"])
        found[drift] = read_record(run(config, quiet())).matrix
    assert found["none"][1, 0] == found["linear"][1, 0]  # nothing was old yet
    assert found["linear"][2, 0] > found["none"][2, 0] + 0.05
    assert found["linear"][2].mean() > found["none"][2].mean()


def test_strategies_and_validation_see_the_head_that_stands_in(
    toy_config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It knows the classes of the task alone, and nothing of it is kept."""
    parts = build(toy_config("scenario=class", "method=ewc", "head=ncm", "training.epochs=1"))
    told: list[tuple[str, ...]] = []
    measured = phase.measure

    def watched(*given: object) -> object:
        told.append(tuple(given[-1]))  # type: ignore[arg-type]
        return measured(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(phase, "measure", watched)
    config = parts.config.model_copy(
        update={"evaluation": parts.config.evaluation.model_copy(update={"validations": 1})}
    )
    folder = RunFolder.create(tmp_path / "run")
    folder.write_config(config)
    learn_stream(replace(parts, config=config), folder, Console(live=False, silent=True))
    assert told == [("food",), ("travel",), ("nature",)]
    (strategy,) = parts.strategies
    assert isinstance(strategy, EWC)
    fishers = {name: tensor for name, tensor in strategy.state().items() if name.startswith("0/fisher/")}
    heads = {name.rpartition(".")[2] for name in fishers if "head." in name}
    assert heads == {f"{kind}:{position}" for kind in ("weight", "bias") for position in range(3)}
    assert all(tensor.any() for name, tensor in fishers.items() if "bank" in name)
    stored = {path.name for path in (folder.path / "heads").iterdir()}
    assert len(stored) == 3  # a pooled head of sums after each task
    assert {name.partition(":")[0] for name in parts.model.head.tensors()} == {"0"}


def test_one_task_of_a_solved_head_over_slots_can_be_taken_out(toy_config: Config) -> None:
    folder = run(toy_config("method=per_task", "head=ridge", "training.epochs=1"), quiet())
    texts = ["the apple and the pear", "a wave and the reef"]
    before = predict(folder, texts, task="nature")
    forget(folder, "food")
    assert verify(folder).problems == ()
    after = predict(folder, texts, task="nature")
    assert [one.probabilities for one in after] == [one.probabilities for one in before]


def test_sums_that_follow_are_those_of_the_features_before_and_after(toy_config: Config) -> None:
    """The statistics of the second checkpoint are the first's, carried, and the second task's own."""
    folder = run(
        toy_config("scenario=class", "method=o_lora", "head=ridge", "drift=linear", "training.epochs=1"), quiet()
    )
    parts = build(load_config(folder / "config.yaml"))
    first, second, _ = read_chain(folder)
    found = {}
    for checkpoint in (first, second):
        load_checkpoint(RunFolder(folder), checkpoint, parts.learner)
        extractor, task = parts.learner.extractor, parts.tasks[1]
        found[checkpoint.number] = (
            parts.model.head.tensors()["0:moments"].clone(),
            *(extractor.features(task.splits[name], None).clone() for name in ("train", "validation")),
        )
    (old, *before), (new, *after) = found[1], found[2]
    T = linear_drift(before[0], after[0], before[1], after[1])
    own = torch.nn.functional.pad(after[0].double(), (0, 1), value=1.0)
    torch.testing.assert_close(new, T @ old @ T.T + own.T @ own)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["step:40", "committed:2"])
def test_a_kill_changes_no_bit(toy_config: Config, point: str) -> None:
    settings = ("scenario=class", "method=o_lora", "head=ranpac", "drift=linear", "training.checkpoint_seconds=0")
    whole, cut = toy_config(*settings, "name=whole"), toy_config(*settings, "name=cut")
    assert in_child(lambda: run(whole, quiet(), Workspace())) == 0
    assert in_child(lambda: run(cut, quiet(), Workspace()), point) == KILLED
    assert in_child(lambda: resume(cut.folder, quiet())) == 0
    first, second = snapshot(whole.folder), snapshot(cut.folder)
    for found in (first, second):
        found.pop("results")  # it has the run's name
    assert first == second
