"""Runs that tag words: what each method forgets, kills that change no bit, and what leaves plora tags the same."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_sentences import values, write_reader
from typer.testing import CliRunner

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import KILLED, in_child, quiet

from plora.cli import app
from plora.config import RunConfig, load_config
from plora.errors import DataError, RunError
from plora.export import export
from plora.results import WordTags, read_curves, read_record, write_report, write_table
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, extend, predict, read_task, resume, run, tag, verify

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
Make = Callable[..., RunConfig]
TEXTS = ["the old ants and a goldish iron", "very new", "a cow of the plum pear reefs and tides in lime"]
STEPS = ("scenario=class", "stream.increment=task")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tags")


@pytest.fixture(scope="module")
def make(world: Path) -> Make:
    reader = write_reader(world / "reader")
    plain = values(world, reader)

    def made(name: str, *overrides: str) -> RunConfig:
        return load_config(plain, [f"name={name}", "training.learning_rate=0.03", *overrides])

    return made


@pytest.fixture(scope="module")
def learned(make: Make) -> Callable[..., Path]:
    known: dict[tuple[str, ...], Path] = {}

    def folder(*overrides: str) -> Path:
        if overrides not in known:
            known[overrides] = run(make(f"run-{len(known)}", *overrides), quiet())
        return known[overrides]

    return folder


def told(folder: Path) -> dict[str, object]:
    """What a run gives again."""
    place = RunFolder(folder)
    manifests = [read_checkpoint(place.path, number) for number in place.complete()]
    rows = [WordTags.read(path) for path in sorted(folder.glob("predictions/*"))]
    return {
        "results": (folder / "results.json").read_bytes(),
        "learned": [(m.slots, m.parts, m.strategies) for m in manifests],
        "tags": [row.predicted.tobytes() for row in rows],
    }


def test_a_later_task_is_learned_as_if_it_had_always_been_there(make: Make, world: Path) -> None:
    whole, short = (make(name, "method=per_task", "training.epochs=1") for name in ("whole", "short"))
    (first, later) = short.stream.tasks  # type: ignore[attr-defined]
    short = short.model_copy(update={"stream": short.stream.model_copy(update={"tasks": (first,)})})
    for config in (whole, short):
        run(config, quiet())
    keys = [f"{key}={getattr(later, key)}" for key in ("name", "validation", "test")]
    assert read_task(short.folder, later.train, keys) == later
    extend(short.folder, later, quiet())
    expected, found = read_record(whole.folder), read_record(short.folder)
    assert found.tasks == expected.tasks
    np.testing.assert_array_equal(found.matrix, expected.matrix)
    assert evaluate(short.folder).changed == 0
    assert RunFolder(short.folder).read_config().added == (later,)


def test_a_step_of_types_cannot_be_added(make: Make, learned: Callable[..., Path]) -> None:
    folder = learned("method=sequential", *STEPS)
    later = make("later").stream.tasks[0].model_copy(update={"name": "more"})  # type: ignore[attr-defined]
    before = (folder / "config.yaml").read_bytes()
    with pytest.raises(DataError, match=r"arrive in steps here .*: task.*; give its sentences to a new run"):
        extend(folder, later, quiet())
    assert (folder / "config.yaml").read_bytes() == before


def test_sequential_forgets_and_per_task_does_not(learned: Callable[..., Path]) -> None:
    sequential, per_task = (read_record(learned(f"method={name}")) for name in ("sequential", "per_task"))
    assert (per_task.score.name, per_task.score.better, per_task.score.unit) == ("entity_f1", "higher", "%")
    for record in (sequential, per_task):
        assert record.matrix[1, 0] > record.matrix[0, 0] + 0.2
        assert record.matrix[2, 1] > record.matrix[0, 1] + 0.1
    assert per_task.matrix[2, 0] == per_task.matrix[1, 0]
    assert sequential.matrix[2, 0] < sequential.matrix[1, 0] - 0.05


def test_where_types_arrive_old_ones_are_lost_and_distillation_holds_them(learned: Callable[..., Path]) -> None:
    """With its weight at 0 LwF has nothing that holds the old types."""
    held = read_record(learned(*STEPS, "method=lwf"))
    without = read_record(learned(*STEPS, "method=lwf", "strategies=[{kind: distillation, weight: 0}]"))
    sequential = read_record(learned(*STEPS, "method=sequential"))
    assert sequential.matrix[2, 0] < sequential.matrix[1, 0] / 2
    assert held.matrix[2, 0] > without.matrix[2, 0] + 0.05
    assert held.matrix[2, 0] > sequential.matrix[2, 0] + 0.1


def test_what_is_written_is_checked_reported_and_scored_again(learned: Callable[..., Path], tmp_path: Path) -> None:
    folder = learned("method=per_task")
    assert verify(folder).problems == ()
    assert evaluate(folder).changed == 0
    write_report([folder], tmp_path / "report.html")
    assert "entity F1" in (tmp_path / "report.html").read_text(encoding="utf-8")
    table, _ = write_table([folder], metrics=["entity_f1", "entity_f1_strict", "word_accuracy", "forgetting"])
    record, rows = read_record(folder), WordTags.read(folder / "predictions" / "task-02.parquet")
    for task, cell in zip(record.tasks, record.matrix[-1], strict=True):
        assert rows.cell(task, record.score) == cell
    assert f"{100 * rows.value(record.score):.1f}" in table


def test_new_sentences_are_tagged_as_they_are_scored(learned: Callable[..., Path]) -> None:
    folder = learned("method=per_task")
    rows = WordTags.read(folder / "predictions" / "task-02.parquet")
    task = RunFolder(folder).read_config().stream.load().tasks[1]
    found = tag(folder, list(task.test.sentences), task.name)
    own = rows.of(task.name)
    said = [name for one in found for name in one.tags]
    assert said == [own.class_names[row] for row in own.predicted.tolist()]
    with pytest.raises(RunError, match="does not label its inputs, it is scored by entity F1; use `plora predict`"):
        predict(folder, TEXTS, task.name)
    with pytest.raises(DataError, match="nothing to tag"):
        tag(folder, [])


def test_the_command_says_entities_and_writes_what_the_stream_reads(
    learned: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = learned(*STEPS, "method=lwf"), tmp_path / "tagged.jsonl"
    (expected,) = tag(folder, TEXTS[:1])
    shown = CliRunner().invoke(app, ["predict", str(folder), TEXTS[0]]).output
    assert shown.strip().endswith(TEXTS[0])
    for kind, words in expected.entities:
        assert f"{kind}: {words}" in shown
    asked = json.loads(CliRunner().invoke(app, ["predict", str(folder), TEXTS[0], "--json"]).output)
    assert asked == {"text": TEXTS[0], "words": [*expected.words], "tags": [*expected.tags]}
    assert CliRunner().invoke(app, ["predict", str(folder), TEXTS[0], "--out", str(out)]).exit_code == 0
    assert json.loads(out.read_text(encoding="utf-8")) == {"words": [*expected.words], "tags": [*expected.tags]}
    among = tag(folder, [TEXTS[1], " ", "", TEXTS[0]])  # one answer for each line, also for one without a word
    assert [one.words for one in among[1:3]] == [(), ()]
    assert (among[3].words, among[3].tags) == (expected.words, expected.tags)
    assert tag(folder, [""])[0].tags == ()
    refused = CliRunner().invoke(app, ["predict", str(folder), TEXTS[0], "--out", str(tmp_path / "tagged.csv")])
    assert refused.exit_code
    assert "sentences with tags are written as JSON lines" in f"{refused.output}{refused.exception}"


@pytest.mark.parametrize(
    ("settings", "task", "merged"),
    [
        (("method=per_task",), "animal-metal", False),
        (("method=per_task",), "fruit-sea", True),
        ((*STEPS, "method=lwf"), None, False),
    ],
)
def test_what_is_exported_tags_the_same(
    learned: Callable[..., Path], settings: tuple[str, ...], task: str | None, merged: bool, tmp_path: Path
) -> None:
    folder = learned(*settings)
    place = export(folder, tmp_path / "out", task if merged else None, merged=merged)
    script = runpy.run_path(str(place / "inference.py"))
    for text, ours in zip(TEXTS, tag(folder, TEXTS, task), strict=True):
        assert script["tag"](text, *([] if task is None else [task])) == [*zip(ours.words, ours.tags, strict=True)]
    assert "token-classification" in (place / "README.md").read_text(encoding="utf-8")


def test_long_sentences_are_tagged_in_windows_there_too(make: Make, tmp_path: Path) -> None:
    folder = run(make("windows", "backbone.max_length=9", "problem.context=3", "training.epochs=1"), quiet())
    script = runpy.run_path(str(export(folder, tmp_path / "out", merged=True, task=None) / "inference.py"))
    long = " ".join(TEXTS)
    (ours,) = tag(folder, [long], "fruit-sea")
    assert script["tag"](long, "fruit-sea") == [*zip(ours.words, ours.tags, strict=True)]
    assert verify(folder).problems == ()


SETTINGS = ("method=replay", "training.checkpoint_seconds=0", "training.epochs=2", *STEPS)


@pytest.mark.parametrize(
    "point",
    ["step:9", *(pytest.param(p, marks=pytest.mark.slow) for p in ("tensors_saved:2", "micro_batch:14", "trained:2"))],
)
def test_a_run_killed_at_any_point_ends_with_the_same_bits(
    make: Make, point: str, learned: Callable[..., Path]
) -> None:
    whole = learned(*SETTINGS)
    config = make(f"cut-{point.partition(':')[0]}", *SETTINGS)
    assert in_child(lambda: run(config, quiet()), point) == KILLED
    assert in_child(lambda: resume(config.folder, quiet())) == 0
    cut = told(config.folder)
    expected = told(whole)
    assert cut["learned"] == expected["learned"]
    assert cut["tags"] == expected["tags"]
    assert read_record(config.folder).matrix.tobytes() == read_record(whole).matrix.tobytes()


@pytest.mark.slow
def test_micro_batches_weigh_by_their_words(make: Make) -> None:
    one, several = (
        run(make(name, "training.epochs=1", *more), quiet())
        for name, more in (("one", ()), ("several", ("training.micro_batch_size=3",)))
    )
    for p, q in zip(*(read_curves(folder / "curves.jsonl") for folder in (one, several)), strict=True):
        assert q.loss == pytest.approx(p.loss, rel=1e-4)
