"""A task that arrives later, and one that has to go."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from killing import KILLED, in_child, quiet, snapshot

from plora.build import Workspace
from plora.config import RunConfig, load_task
from plora.errors import ConfigError, DataError, NonFiniteLossError, PloraError, RunError, UnknownTaskError
from plora.export import export
from plora.results import ClassRankings, read_record, write_table
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, extend, forget, predict, resume, run, verify
from plora.streams.local import LocalTask
from plora.training import stage

Config = Callable[..., RunConfig]


@pytest.fixture
def shorter(toy_config: Config, toy_files: dict[str, Path], tmp_path: Path) -> Callable[..., RunConfig]:
    """A config of the toy stream's first two tasks."""
    tasks = [
        f"{{name: {task}, train: '{toy_files[f'{task}-train']}', test: '{toy_files[f'{task}-test']}'}}"
        for task in ("food", "travel")
    ]
    return lambda *more: toy_config(f"stream.tasks=[{', '.join(tasks)}]", f"output={tmp_path / 'short'}", *more)


@pytest.fixture
def third(toy_files: dict[str, Path]) -> LocalTask:
    return load_task(toy_files["nature-train"], ["name=nature", f"test='{toy_files['nature-test']}'"])


CASES = [
    ("task", "per_task", "linear", "seen"),
    ("task", "o_lora", "linear", "seen"),
    ("task", "sequential", "linear", "seen"),
    ("task", "lateral", "linear", "seen"),
    ("task", "merged_magmax", "linear", "seen"),
    ("task", "generative_replay", "linear", "seen"),
    ("task", "frozen", "ncm", "seen"),
    ("task", "full", "linear", "seen"),
    ("class", "o_lora", "linear", "seen"),
    ("class", "sequential", "linear", "seen"),
    ("class", "ewc_lora", "linear", "seen"),
    ("class", "routed", "linear", "seen"),
    pytest.param("class", "gain_lora", "linear", "seen", marks=pytest.mark.slow),
    ("class", "first_session", "ridge", "seen"),
    ("class", "frozen", "ridge", "seen"),
    # Scored before they are learned.
    *(
        pytest.param(*case, "all", marks=pytest.mark.slow)
        for case in (
            ("task", "per_task", "linear"),
            ("task", "merged_magmax", "linear"),
            ("task", "frozen", "ncm"),
            ("class", "sequential", "linear"),
            ("class", "routed", "linear"),
            ("class", "first_session", "ridge"),
        )
    ),
]


@pytest.mark.parametrize(("scenario", "method", "head", "tasks"), CASES)
def test_a_later_task_is_learned_as_if_it_had_always_been_there(
    toy_config: Config,
    shorter: Callable[..., RunConfig],
    third: LocalTask,
    scenario: str,
    method: str,
    head: str,
    tasks: str,
) -> None:
    settings = (f"scenario={scenario}", f"method={method}", f"head={head}", f"evaluation.tasks={tasks}")
    settings = (*settings, "training.epochs=1", "training.learning_rate=0.01")
    whole, short = toy_config(*settings), shorter(*settings)
    assert in_child(lambda: run(whole, quiet(), Workspace())) == 0
    assert in_child(lambda: run(short, quiet(), Workspace())) == 0
    assert in_child(lambda: extend(short.folder, third, quiet())) == 0
    expected, found = snapshot(whole.folder), snapshot(short.folder)
    assert found == expected
    assert evaluate(short.folder).changed == 0


def test_a_strategy_that_counts_the_tasks_takes_no_other(shorter: Callable[..., RunConfig], third: LocalTask) -> None:
    config = shorter("method=inf_lora", "training.epochs=1")
    assert in_child(lambda: run(config, quiet(), Workspace())) == 0
    before = (config.folder / "config.yaml").read_bytes()
    with pytest.raises(RunError, match=r"'inf_lora' goes from lamb=0.98 to lame=1 over the tasks of the stream"):
        extend(config.folder, third, quiet())
    assert (config.folder / "config.yaml").read_bytes() == before


@pytest.mark.slow
def test_designed_slots_whose_share_stays_can_be_extended(
    toy_config: Config, shorter: Callable[..., RunConfig], third: LocalTask
) -> None:
    settings = ("method=inf_lora", "scenario=class", "strategies=[{kind: inf_lora, lame: 0.98}]", "training.epochs=2")
    whole, short = toy_config(*settings), shorter(*settings)
    assert in_child(lambda: run(whole, quiet(), Workspace())) == 0
    assert in_child(lambda: run(short, quiet(), Workspace())) == 0
    assert in_child(lambda: extend(short.folder, third, quiet())) == 0
    assert snapshot(short.folder) == snapshot(whole.folder)


@pytest.mark.parametrize(
    "point",
    [
        "extended",
        "step:3",
        *(pytest.param(p, marks=pytest.mark.slow) for p in ("tensors_saved", "checkpointed", "predicted")),
    ],
)
def test_extending_survives_a_kill(
    toy_config: Config, shorter: Callable[..., RunConfig], third: LocalTask, point: str
) -> None:
    settings = ("method=o_lora", "training.epochs=2", "evaluation.tasks=all")
    whole, short = toy_config(*settings), shorter(*settings)
    assert in_child(lambda: run(whole, quiet(), Workspace())) == 0
    assert in_child(lambda: run(short, quiet(), Workspace())) == 0
    assert in_child(lambda: extend(short.folder, third, quiet()), point) == KILLED
    assert in_child(lambda: resume(short.folder, quiet())) == 0
    assert snapshot(short.folder) == snapshot(whole.folder)


def test_extend_refuses_what_it_cannot_do(
    shorter: Callable[..., RunConfig], third: LocalTask, toy_files: dict[str, Path]
) -> None:
    config = shorter("training.epochs=1")
    assert in_child(lambda: run(config, quiet(), Workspace())) == 0
    before = (config.folder / "config.yaml").read_bytes()
    with pytest.raises(DataError, match="'food' is used more than once"):
        extend(config.folder, third.model_copy(update={"name": "food"}), quiet())
    with pytest.raises(ConfigError, match="unknown key; did you mean 'label'"):
        load_task(toy_files["nature-train"], ["labl=x"])
    joint = shorter("method=joint", "training.epochs=1")
    assert in_child(lambda: run(joint, quiet(), Workspace())) == 0
    with pytest.raises(RunError, match="learns all tasks at once"):
        extend(joint.folder, third, quiet())
    cut = shorter("method=o_lora", "training.epochs=1")
    assert in_child(lambda: run(cut, quiet(), Workspace()), "recorded") == KILLED
    with pytest.raises(RunError, match="is not finished"):
        extend(cut.folder, third, quiet())
    assert (config.folder / "config.yaml").read_bytes() == before


@pytest.mark.parametrize(("method", "head"), [("per_task", "linear"), ("frozen", "ncm"), ("frozen", "linear")])
def test_a_forgotten_task_is_gone_and_the_others_are_as_they_were(
    toy_config: Config, method: str, head: str, tmp_path: Path
) -> None:
    config = toy_config(f"method={method}", f"head={head}")
    assert in_child(lambda: run(config, quiet(), Workspace())) == 0
    folder = RunFolder(config.folder)
    before = read_checkpoint(folder.path, 3)
    texts = ["a loaf of rye", "old wave"]
    others = [predict(config.folder, texts, task) for task in ("food", "nature")]
    forget(config.folder, "travel")
    after = read_checkpoint(folder.path, 3)
    assert after.tasks == ("food", "nature")
    assert after.forgotten == ("travel",)
    gone = set(before.slots.values()) - set(after.slots.values()) | set(before.parts.values()) - set(
        after.parts.values()
    )
    assert gone
    for content in gone:  # nowhere on disk, not even by name
        assert not list(config.folder.rglob(f"*{content}*"))
        for manifest in config.folder.rglob("manifest.json"):
            assert content not in manifest.read_text(encoding="utf-8")
    assert [predict(config.folder, texts, task) for task in ("food", "nature")] == others
    with pytest.raises(UnknownTaskError, match="travel"):
        predict(config.folder, texts, "travel")
    assert evaluate(config.folder).tasks == ["food", "nature"]
    assert evaluate(config.folder).changed == 0
    assert verify(config.folder).problems == ()
    assert "forgotten" in read_record(config.folder).warnings[0]
    matrix, _ = write_table([config.folder], "matrix")
    assert "travel †" in matrix.splitlines()[0]
    assert f"† travel of {config.folder}: taken out by plora forget after this was measured" in matrix
    assert "† travel of" in write_table([config.folder])[0]
    assert write_table([config.folder], "matrix", format="csv")[0].splitlines()[0].split(",")[1:4] == [
        "food",
        "travel †",
        "nature",
    ]
    assert "& travel \\dag{} &" in write_table([config.folder], "matrix", format="latex")[0]
    slots = [write_table([config.folder], "slots", format=format)[0] for format in ("markdown", "csv", "latex")]
    assert ["travel †" in slots[0], "\ntravel †," in slots[1], "travel \\dag{} &" in slots[2]] == [True] * 3
    for kind in ("methods", "runs", "costs"):
        heads, row = (line.split(",") for line in write_table([config.folder], kind, format="csv")[0].splitlines())
        assert (heads[-1], row[-1]) == ("taken_out", "travel")
    forget(config.folder, "travel")  # again: what a kill left is finished, and nothing else happens
    assert read_checkpoint(folder.path, 3) == after


@pytest.mark.parametrize("write", [1, 2, 3])
def test_forgetting_again_finishes_what_a_kill_cut(toy_config: Config, write: int) -> None:
    config = toy_config("method=per_task", "training.epochs=1")
    assert in_child(lambda: run(config, quiet(), Workspace())) == 0
    whole = toy_config("method=per_task", "training.epochs=1", "name=whole")
    assert in_child(lambda: run(whole, quiet(), Workspace())) == 0
    forget(whole.folder, "travel")
    assert in_child(lambda: forget(config.folder, "travel"), f"write:{write}") == KILLED
    assert predict(config.folder, ["a loaf"], "food") == predict(whole.folder, ["a loaf"], "food")
    forget(config.folder, "travel")
    assert snapshot(config.folder)["files"] == snapshot(whole.folder)["files"]
    found, expected = (read_checkpoint(c.folder, 3) for c in (config, whole))
    assert (found.tasks, found.forgotten, found.files) == (expected.tasks, expected.forgotten, expected.files)
    assert verify(config.folder).problems == ()


def test_everything_can_be_forgotten(toy_config: Config, tmp_path: Path) -> None:
    early = toy_config("method=per_task", "training.epochs=1", "name=early")
    assert in_child(lambda: run(early, quiet(), Workspace()), "checkpointed") == KILLED
    forget(early.folder, "food")  # before there is a record
    assert in_child(lambda: resume(early.folder, quiet())) == 0
    assert set(ClassRankings.read(RunFolder(early.folder).predictions(3)).task.tolist()) == {"travel", "nature"}
    for task in ("travel", "nature"):
        forget(early.folder, task)
    for work in (lambda: evaluate(early.folder), lambda: predict(early.folder, ["a"], "food")):
        with pytest.raises(RunError, match="has forgotten every task it learned"):
            work()
    with pytest.raises(RunError, match="has forgotten every task it learned"):
        export(early.folder, tmp_path / "out")


def test_a_step_checkpoint_of_a_forgotten_task_is_gone(toy_config: Config) -> None:
    config = toy_config("method=per_task", "training.epochs=1", "training.checkpoint_seconds=0")
    assert in_child(lambda: run(config, quiet(), Workspace()), "manifested:3") == KILLED
    folder = RunFolder(config.folder)
    assert list(folder.step.glob("state-*"))
    forget(config.folder, "nature")
    assert not folder.step.exists()


def test_a_task_that_cannot_be_learned_leaves_the_run_as_it_was(
    shorter: Callable[..., RunConfig], third: LocalTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = shorter("method=per_task", "training.epochs=1", "evaluation.tasks=all")
    assert in_child(lambda: run(config, quiet(), Workspace())) == 0
    before = snapshot(config.folder)

    def not_finite(*_: object) -> object:
        raise NonFiniteLossError("task 'nature', step 3: the loss is not finite")

    with monkeypatch.context() as patch:
        patch.setattr(stage, "train_phase", not_finite)
        with pytest.raises(NonFiniteLossError, match="task 'nature'"):
            extend(config.folder, third, quiet())
    assert snapshot(config.folder) == before
    assert verify(config.folder).problems == ()
    extend(config.folder, third, quiet())
    assert read_record(config.folder).complete


def test_an_extension_that_was_cut_is_not_extended_again(shorter: Callable[..., RunConfig], third: LocalTask) -> None:
    config = shorter("method=per_task", "training.epochs=1")
    assert in_child(lambda: run(config, quiet(), Workspace())) == 0
    assert in_child(lambda: extend(config.folder, third, quiet()), "extended") == KILLED
    with pytest.raises(DataError, match="was added already; if it was cut, go on with `plora resume"):
        extend(config.folder, third, quiet())
    with pytest.raises(RunError, match="is not finished"):
        extend(config.folder, third.model_copy(update={"name": "other"}), quiet())
    assert in_child(lambda: resume(config.folder, quiet()), "untrained") == KILLED
    with pytest.raises(RunError, match="was cut while it learned a task more"):
        verify(config.folder)
    assert in_child(lambda: resume(config.folder, quiet())) == 0
    assert verify(config.folder).problems == ()


def test_a_copy_without_its_last_checkpoint_is_not_a_shorter_run(toy_config: Config, tmp_path: Path) -> None:
    config = toy_config("method=per_task", "training.epochs=1")
    assert in_child(lambda: run(config, quiet(), Workspace())) == 0
    (config.folder / "checkpoints/task-03/manifest.json").unlink()
    (problem,) = verify(config.folder).problems[:1]
    assert "task-03/manifest.json is missing" in problem
    for work in (
        lambda: evaluate(config.folder),
        lambda: predict(config.folder, ["a"], "food"),
        lambda: export(config.folder, tmp_path / "out"),
    ):
        with pytest.raises(RunError, match=r"task-03/manifest\.json is missing"):
            work()


def test_a_run_goes_on_after_it_forgot(shorter: Callable[..., RunConfig], third: LocalTask) -> None:
    config = shorter("method=per_task")
    assert in_child(lambda: run(config, quiet(), Workspace())) == 0
    forget(config.folder, "food")
    assert in_child(lambda: extend(config.folder, third, quiet())) == 0
    record = read_record(config.folder)
    assert np.isnan(record.matrix[3, 0])
    assert not np.isnan(record.matrix[3, 1:]).any()
    assert set(ClassRankings.read(RunFolder(config.folder).predictions(3)).task.tolist()) == {"travel", "nature"}
    assert verify(config.folder).problems == ()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (("method=sequential",), "one slot, which every task changed"),
        (("method=o_lora",), "later ones were learned on top"),
        (("method=gain_lora",), "later ones were learned on top"),
        (("method=lateral",), "lets later slots read what this one reads"),
        (("method=routed", "scenario=class"), "chooses among all tasks"),
        (("method=first_session", "head=ncm"), "the first task trained and all tasks stand on"),
        (("method=merged_average",), "with the slot that it made of all of them"),
        (("method=joint",), "learned all tasks together"),
        (("method=full",), "trained the whole network"),
        (("method=frozen", "scenario=class"), "learned against each other"),
    ],
)
def test_forgetting_is_refused_where_tasks_are_entangled(
    toy_config: Config, settings: tuple[str, ...], reason: str
) -> None:
    config = toy_config(*settings, "training.epochs=1")
    assert in_child(lambda: run(config, quiet(), Workspace())) == 0
    before = snapshot(config.folder)
    with pytest.raises(PloraError, match=reason):
        forget(config.folder, "food")
    assert snapshot(config.folder) == before
    with pytest.raises(UnknownTaskError, match="did you mean 'food'"):
        forget(config.folder, "foood")
