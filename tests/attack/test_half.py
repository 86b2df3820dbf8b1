"""Half a folder: what a kill, a full disk or a lost file leaves is noticed, and the same verb again ends as if nothing
had happened.
"""

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import SafetensorError

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import KILLED, in_child, quiet, snapshot

from plora import atomic
from plora.batches import state_file
from plora.build import Workspace
from plora.config import RunConfig, load_config, load_task
from plora.errors import PloraError, RunError
from plora.export import export
from plora.problems import text_classification
from plora.results.record.manifest import read_checkpoint
from plora.runs import extend, forget, resume, run, verify
from plora.runs.pretraining import pretrain
from plora.sealed import write_sealed
from plora.streams import docstring_corpus
from plora.sweep import SweepConfig, sweep
from plora.tensor_file import library_writes

Config = Callable[..., RunConfig]
Verb = Callable[[Path], object]
MOST_WRITES = 60
"""More files than any verb of a tiny run writes."""


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder but what is appended to."""
    own = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in own.items() if name not in ("log.txt", ".lock")}


# ---------------------------------------------------------------------- a file that is gone

WITHOUT_WHICH_IT_IS_SHORTER = ("curves.jsonl", "predictions/task-00.parquet", "predictions/task-01.parquet")
"""Not needed by what was learned: `resume` measures the predictions again."""


def test_a_run_that_lost_any_file_is_neither_cut_further_nor_called_whole(whole: Path, tmp_path: Path) -> None:
    names = [name for name in files(whole) if not name.startswith(WITHOUT_WHICH_IT_IS_SHORTER)]
    assert len(names) > 10
    for name in names:
        folder = tmp_path / name.replace("/", "-") / "run"
        shutil.copytree(whole, folder)
        (folder / name).unlink()
        before = files(folder)
        if name.startswith(("slots/", "heads/")):
            with pytest.raises(RunError, match=Path(name).name):
                resume(folder, quiet())
        if name.endswith("manifest.json") or name == "environment.json":
            for verb in (lambda: forget(folder, "food"), lambda: resume(folder, quiet())):  # noqa: B023
                with pytest.raises(RunError, match=Path(name).name):
                    verb()
        try:
            sound = not verify(folder).problems
        except RunError:
            sound = False
        assert not sound, name
        assert {key: files(folder).get(key) for key in before} == before


# ---------------------------------------------------------------------- a verb that was cut is done again


def ends_alike(
    source: Path | None,
    place: Path,
    verb: Verb,
    kept: Callable[[Path], object],
    points: range,
    again: Verb | None = None,
) -> int:
    """Kill a verb under each of some files that it writes, do it again, and compare with one that was never cut.

    Args:
        source: the folder that it begins with; None where it begins with nothing.
        place: room for copies.
        verb: what is done in a copy's folder.
        kept: what has to end alike.
        points: which files.
        again: what is done after the kill where the verb itself refuses.

    Returns:
        How often it was cut.
    """

    def begin(name: str) -> Path:
        home = place / name
        if source is None:
            home.mkdir(parents=True)
        else:
            shutil.copytree(source, home / "run")
        return home

    def repeated(home: Path) -> None:
        try:
            verb(home)
        except PloraError:
            if again is None:
                raise
            again(home)

    whole = begin("whole")
    assert in_child(lambda: verb(whole)) == 0
    cuts = 0
    for number in points:
        home = begin(f"write-{number}")
        if in_child(lambda: verb(home), f"write:{number}") == 0:  # noqa: B023
            return cuts
        cuts += 1
        assert in_child(lambda: repeated(home)) == 0, number  # noqa: B023
        assert kept(home) == kept(whole), number
        shutil.rmtree(home)
    return cuts


EVERY = pytest.mark.parametrize(
    "points", [range(1, 3), pytest.param(range(3, MOST_WRITES), marks=pytest.mark.slow)], ids=["quick", "every"]
)


@EVERY
def test_an_export_that_was_cut_is_made_again_and_leaves_nothing(whole: Path, tmp_path: Path, points: range) -> None:
    def kept(home: Path) -> object:
        assert [path.name for path in home.iterdir() if path.name.startswith(".")] == []
        return files(home / "out")

    # That only the target's name is told in what is written keeps the two alike.
    assert ends_alike(whole, tmp_path, lambda home: export(home / "run", home / "out"), kept, points) > 1


@EVERY
def test_forgetting_that_was_cut_is_finished_by_forgetting_again(whole: Path, tmp_path: Path, points: range) -> None:
    last = range(4, 6) if points.start == 1 else range(6, MOST_WRITES)  # the first ones are cut elsewhere
    cuts = ends_alike(
        whole, tmp_path, lambda home: forget(home / "run", "food"), lambda home: files(home / "run"), last
    )
    assert cuts == (2 if last.start == 4 else 1)  # the sixth write is the last


@EVERY
def test_a_task_more_that_was_cut_is_learned_by_resuming(
    whole: Path, tmp_path: Path, toy_files: dict[str, Path], points: range
) -> None:
    task = load_task(toy_files["nature-test"], ["name=nature"])
    assert (
        ends_alike(
            whole,
            tmp_path,
            lambda home: extend(home / "run", task, quiet()),
            lambda home: snapshot(home / "run"),
            points,
            again=lambda home: resume(home / "run", quiet()),
        )
        > 1
    )


@EVERY
def test_resuming_that_was_cut_is_done_again(config: Config, tmp_path: Path, points: range) -> None:
    made = config()
    assert in_child(lambda: run(made, quiet(), Workspace()), "opened:2") == KILLED
    cuts = ends_alike(
        made.folder,
        tmp_path,
        lambda home: resume(home / "run", quiet()),
        lambda home: snapshot(home / "run"),
        points,
    )
    assert cuts > 1


NEW = {
    "name": "tiny",
    "problem": {"kind": "image_classification"},
    "stream": {"kind": "digits", "part": "pretraining", "held_back": 0.9},
    "method": "full",
    "backbone": {
        "kind": "new",
        "network": {
            "model_type": "resnet",
            "num_channels": 1,
            "embedding_size": 4,
            "hidden_sizes": [4, 8],
            "depths": [1, 1],
            "layer_type": "basic",
        },
        "image": {"size": 12},
    },
    "training": {"epochs": 1, "batch_size": 32},
}


@EVERY
def test_pretraining_that_was_cut_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: range) -> None:
    made = load_config(NEW)

    def verb(home: Path) -> None:
        os.environ["PLORA_CACHE"] = str(home)  # of the child
        pretrain(made, "tiny", quiet())

    def kept(home: Path) -> object:
        # Small files that a kill left in a cache stay: others may be writing there at the same time.
        left = sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.suffix != ".tmp")
        assert not [name for name in left if "unfinished" in name]
        return left, [path.read_bytes() for path in sorted(home.rglob("model.safetensors"))]

    early = points if points.start > 1 else range(9, 12)
    assert ends_alike(None, tmp_path, verb, kept, early) > 1


@pytest.mark.parametrize("points", [range(9, 10), pytest.param(range(1, MOST_WRITES, 6), marks=pytest.mark.slow)])
def test_a_sweep_that_was_cut_is_done_again(config: Config, tmp_path: Path, points: range) -> None:
    values = config().model_dump(mode="json", exclude_unset=True)

    def verb(home: Path) -> None:
        plan = {"name": "two", "config": {**values, "output": "x"}, "grid": {"seed": [0, 1]}, "output": str(home)}
        sweep(SweepConfig.model_validate(plan), live=False)

    def kept(home: Path) -> object:
        return [snapshot(path.parent) for path in sorted(home.rglob("config.yaml"))], (
            home / "two/report.html"
        ).exists()

    assert ends_alike(None, tmp_path, verb, kept, points) > 0


# ---------------------------------------------------------------------- a folder that another process has, or a user


def test_two_exporters_at_once_get_one_line(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic.atomic_folder(out), pytest.raises(RunError, match=f"{out} is being written by another process"):
        export(folder, out)
    assert out.is_dir()
    assert not (tmp_path / ".out.unfinished").exists()


@pytest.mark.parametrize("strange", ["notes.txt", "filled"])
def test_a_hidden_folder_that_plora_did_not_make_stays(folder: Path, tmp_path: Path, strange: str) -> None:
    hidden = tmp_path / ".out.unfinished"
    (hidden / strange).mkdir(parents=True)
    (hidden / strange / "mine").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match=r"\.out\.unfinished is where .* move it away"):
        export(folder, tmp_path / "out")
    assert (hidden / strange / "mine").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "out").exists()


def test_a_hidden_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".out.unfinished").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="plora did not make"):
        export(folder, tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


# ---------------------------------------------------------------------- a full disk


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("most_bytes", [0, 700, 3000])
def test_an_export_on_a_full_disk_names_the_folder_and_leaves_nothing(
    folder: Path, tmp_path: Path, most_bytes: int, merged: bool
) -> None:
    out = tmp_path / "out"

    def work() -> None:
        with pytest.raises(OSError, match="File too large") as caught:
            export(folder, out, task="food", merged=merged)
        assert caught.value.errno == errno.EFBIG
        assert str(caught.value.filename).startswith(str(tmp_path))

    assert in_child(work, most_bytes=most_bytes) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert in_child(lambda: export(folder, out, task="food", merged=merged)) == 0


@pytest.mark.parametrize("said", [SafetensorError, Exception])
def test_what_a_library_says_of_a_full_disk_is_what_the_system_said(tmp_path: Path, said: type[Exception]) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught, library_writes(tmp_path / "a"):
        raise said("I/O error: No space left on device (os error 28)")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "a"))
    with pytest.raises(ValueError, match="a mistake"), library_writes(tmp_path):
        raise ValueError("a mistake")


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("cache", ["a file", "no place", "no room"])
def test_a_run_without_a_cache_takes_longer_and_nothing_else(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    settings = ("lora.layers=last 1", "name=alike")
    with_cache, without = config(*settings), config(*settings)
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "cache"))
    assert in_child(lambda: run(with_cache, quiet(), Workspace())) == 0
    assert {path.parent.name for path in (tmp_path / "cache").rglob("*.safetensors")} == {"tokens", "prefix"}
    events = tmp_path / "events.txt"
    if cache == "a file":
        (tmp_path / "file").write_text("", encoding="utf-8")
        monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "file"))
    elif cache == "no place":
        monkeypatch.setenv("PLORA_CACHE", "/proc/nowhere")
    else:
        monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "full"))
        monkeypatch.setattr(text_classification, "save_tensors", no_room)
        monkeypatch.setattr(state_file.os, "ftruncate", no_room)
    assert in_child(lambda: run(without, quiet(events), Workspace())) == 0
    assert "prefix_not_kept" in events.read_text(encoding="utf-8")
    assert read_checkpoint(without.folder, 2).slots == read_checkpoint(with_cache.folder, 2).slots
    assert not list((tmp_path / "full").rglob("*.tmp"))


def test_a_corpus_that_cannot_be_kept_is_parsed_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = docstring_corpus.DocumentedObject("t", "m", "n", "", "function", (), ("a", "b"), 1)
    source = docstring_corpus._Source(Path(__file__), "m", "t")
    monkeypatch.setattr(docstring_corpus, "_all_sources", lambda: [source])
    monkeypatch.setattr(docstring_corpus, "_objects", lambda *_: [one])
    (tmp_path / "file").write_text("", encoding="utf-8")
    for place in (tmp_path / "file", Path("/proc/nowhere")):
        monkeypatch.setenv("PLORA_CACHE", str(place))
        assert docstring_corpus.read_corpus() == [one]
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "cache"))
    assert docstring_corpus.read_corpus() == [one]
    (kept,) = (tmp_path / "cache/docstrings").iterdir()
    for content in ({"objects": None}, {"objects": [1]}, {"objects": [{"paragraphs": []}]}, {}):
        write_sealed(kept, content)
        assert docstring_corpus.read_corpus() == [one]
