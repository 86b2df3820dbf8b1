"""Whatever stands in a run folder, every verb says one clear line or works: no traceback, and no waiting forever.

Content that does not fit is sealed again with the right identity, so that no hash says that it was changed.
"""

import copy
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import KILLED, in_child, quiet

from plora import atomic
from plora.build import Workspace
from plora.config import RunConfig, load_task
from plora.errors import ConfigError, PloraError
from plora.export import export
from plora.results import find_runs, write_report
from plora.run_folder.agreement import read_agreed
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, extend, forget, predict, resume, run, verify
from plora.sealed import open_sealed, write_sealed
from plora.shown import visible

PATIENCE = 3600.0
"""Seconds until verbs of which one waits forever are ended."""
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def forgetful(config: Callable[..., RunConfig]) -> Path:
    """A finished run that has forgotten a task."""
    made = config()
    assert in_child(lambda: run(made, quiet(), Workspace())) == 0
    assert in_child(lambda: forget(made.folder, "food")) == 0
    return made.folder


@pytest.fixture(scope="module")
def inside_a_task(config: Callable[..., RunConfig]) -> Path:
    """A run that was killed inside its second task, where it has a checkpoint."""
    made = config("training.checkpoint_seconds=0")
    assert in_child(lambda: run(made, quiet(), Workspace()), "step_saved:4") == KILLED
    assert (made.folder / "checkpoints/step/manifest.json").exists()
    return made.folder


def verbs(third: Path) -> dict[str, Damage]:
    """Everything that is done with a run folder, by its name."""
    return {
        "agree": lambda folder: read_agreed(RunFolder.existing(folder)),
        "find": lambda folder: [record.metrics for record in find_runs([folder]).runs.values()],
        "report": lambda folder: write_report([folder], folder.parent / "report.html"),
        "verify": verify,
        "predict": lambda folder: predict(folder, ["a loaf"], "travel"),
        "resume": lambda folder: resume(folder, quiet()),
        "evaluate": evaluate,
        "export": lambda folder: export(folder, folder.parent / "out"),
        "forget": lambda folder: forget(folder, "travel"),
        "extend": lambda folder: extend(folder, load_task(third, ["name=nature"]), quiet()),
    }


class Attack:
    """Does every verb on copies of a run that were damaged, in one forked process."""

    def __init__(self, source: Path, place: Path, third: Path) -> None:
        self.source, self.place, self.verbs = source, place, verbs(third)
        self.said = place / "said.txt"

    def all(self, cases: Mapping[str, tuple[Damage, tuple[str, ...]]]) -> None:
        """Do each case's verbs after its damage."""
        assert cases

        def work() -> None:
            atomic._sync = lambda _: None  # nobody pulls a plug here
            with self.said.open("w", encoding="utf-8", errors="backslashreplace", buffering=1) as said:
                for name, (damage, chosen) in cases.items():
                    said.writelines(self._each(name, damage, chosen))

        assert (in_child(work, after=PATIENCE), self.said.read_text(encoding="utf-8")) == (0, "")

    def _each(self, name: str, damage: Damage, chosen: tuple[str, ...]) -> Iterator[str]:
        for number, verb in enumerate(chosen):
            home = self.place / f"{name.replace('/', '-')}-{number}"[-100:]
            shutil.copytree(self.source, home / "run")
            damage(home / "run")
            try:
                self.verbs[verb](home / "run")
            except PloraError as error:
                lines = str(error).split("\n")
                if (len(lines) > 1 and not isinstance(error, ConfigError)) or any(x != visible(x) for x in lines):
                    yield f"{name}, {verb}: {len(lines)} lines: {error}"
            except BaseException:
                yield f"{name}, {verb}: {traceback.format_exc()}"
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def attack(tmp_path: Path, toy_files: dict[str, Path]) -> Callable[[Path], Attack]:
    return lambda source: Attack(source, tmp_path, toy_files["nature-test"])


# ---------------------------------------------------------------------- content that does not fit, sealed again

GONE = object()
CHANGES: dict[str, Callable[[object], object]] = {
    "drop": lambda _: GONE,
    "null": lambda _: None,
    "wrong": lambda value: [["x"]] if isinstance(value, dict) else {"x": [1]},
    "empty": lambda value: type(value)() if isinstance(value, dict | list | str | int | float) else [],
    "huge": lambda value: (
        value * 5 or [[]] if isinstance(value, list)
        else {**value, "more": 1} if isinstance(value, dict)
        else "x" * 10_000 if isinstance(value, str)
        else 10**400
    ),
    "large": lambda _: 10**25,
    "negative": lambda _: -1,
}  # fmt: skip
SLOW_VERBS = ("verify", "predict", "resume")
SEALED = {
    "whole": ("environment.json", "results.json", "costs.json", "checkpoints/task-01/manifest.json"),
    "forgetful": ("forgotten.json", "checkpoints/task-02/manifest.json"),
    "inside_a_task": ("checkpoints/step/manifest.json",),
}
FILES = [(made, file) for made, files in SEALED.items() for file in files]


def paths(content: object, depth: int, top: bool = True) -> Iterator[tuple[str | int, ...]]:
    """The keys of a JSON value: all that it has, and below each the first ones."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner if top else [*inner][:2]:
        yield (key,)
        if depth and key != "metrics":  # recomputed, and never read
            yield from ((key, *more) for more in paths(value, depth - 1, top=False))


def changed(file: str, path: tuple[str | int, ...], change: Callable[[object], object]) -> Damage:
    """Another value at a path of a sealed file, and the seal made anew."""

    def damage(folder: Path) -> None:
        sealed = open_sealed(folder / file)
        content = copy.deepcopy(sealed.content)
        *parents, last = path
        place: object = content
        for key in parents:
            place = place[key]  # type: ignore[index]
        if (value := change(place[last])) is GONE:  # type: ignore[index]
            del place[last]  # type: ignore[attr-defined]
        else:
            place[last] = value  # type: ignore[index]
        write_sealed(folder / file, content, sealed.of)  # type: ignore[arg-type]

    return damage


def resealed(source: Path, file: str, every: bool) -> dict[str, tuple[Damage, tuple[str, ...]]]:
    """Every change of every key; what takes long is done for some of them, unless it is for every."""
    turn, cases = count(), {}
    for path in paths(open_sealed(source / file).content, 2 if every else 1):
        for name, change in CHANGES.items():
            chosen = SLOW_VERBS[next(turn) % 3 :][:1] if every or name == "empty" else ()
            quick = ("agree", "find")
            cases[f"{file} {'.'.join(map(str, path))} {name}"] = changed(file, path, change), (*quick, *chosen)
    return cases


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("made", "file"), FILES)
def test_resealed_content_that_does_not_fit_is_one_line(
    request: pytest.FixtureRequest, attack: Callable[[Path], Attack], made: str, file: str, every: bool
) -> None:
    source = request.getfixturevalue(made)
    attack(source).all(resealed(source, file, every))


# ---------------------------------------------------------------------- something else in the place of a file


def instead(name: str, put: Callable[[Path], object]) -> Damage:
    """Something else where a file or a folder of the run was."""

    def damage(folder: Path) -> None:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        put(path)

    return damage


def a_manifest_that_lists_itself(folder: Path) -> None:
    """One of the files that it vouches for is the manifest."""
    path = folder / "checkpoints/task-02/manifest.json"
    sealed = open_sealed(path)
    files: dict[str, str] = dict(sealed.content["files"])  # type: ignore[call-overload]
    files["checkpoints/task-02/manifest.json"] = sealed.sha256
    write_sealed(path, {**sealed.content, "files": files}, sealed.of)  # type: ignore[dict-item]


def no_rights(folder: Path) -> None:
    """Nobody but the administrator can read or write the run."""
    for path in (*folder.rglob("*"), folder):
        path.chmod(0)


def text_in(name: str, text: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(text)


def _files_of_the_last(folder: Path, files: dict[str, str]) -> None:
    """Other files in the newest manifest."""
    changed("checkpoints/task-02/manifest.json", ("files",), lambda _: files)(folder)


PUT: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "0 bytes": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "a folder": lambda path: path.mkdir(),
    "a full folder": lambda path: (path.mkdir(), (path / "file").write_text("x")),
    "a pipe": os.mkfifo,
    "itself": lambda path: path.symlink_to(path.name),
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
}
READING, WRITING = ("find", "report", "verify", "predict", "evaluate", "export"), ("resume", "forget", "extend")
ONCE = ("agree", "resume", "forget")
HOSTILE: dict[str, Damage] = {
    "infinite": text_in("results.json", b'{"matrix": [[1e999]], "sha256": ""}'),
    "deep": text_in("results.json", b"[" * 100_000),
    "deep objects": text_in("environment.json", b'{"a":' * 100_000),
    "digits": text_in("costs.json", b'{"cost": ' + b"9" * 10_000 + b"}"),
    "NUL": text_in("config.yaml", b"\0" * 100),
    "binary config": text_in("config.yaml", bytes(range(256))),
    "NUL in a name": lambda folder: _files_of_the_last(folder, {"a\0b": "0" * 64}),
    "outside": lambda folder: _files_of_the_last(folder, {"../../up": "0" * 64}),
    "a number too large for a file": lambda folder: (folder / "checkpoints/task-99999999999").mkdir(),
    "lists itself": a_manifest_that_lists_itself,
    "another sealed file": lambda folder: shutil.copyfile(folder / "costs.json", folder / "environment.json"),
    "shorter predictions": lambda folder: os.truncate(folder / "predictions/task-01.parquet", 500),
    "predictions of before": lambda folder: shutil.copyfile(
        folder / "predictions/task-00.parquet", folder / "predictions/task-02.parquet"
    ),
}  # fmt: skip


def entries(source: Path) -> list[str]:
    """A file of every kind that a run has, and the folders."""
    slots = sorted(path.relative_to(source).as_posix() for path in source.glob("slots/*/*"))[:2]
    heads = sorted(path.relative_to(source).as_posix() for path in source.glob("heads/*"))[:1]
    files = ["config.yaml", "environment.json", "results.json", "costs.json", "curves.jsonl", "log.txt", ".lock"]
    files += ["predictions/task-00.parquet", "predictions/task-02.parquet", "checkpoints/task-02/manifest.json"]
    return [*files, *slots, *heads, "predictions", "slots", "heads", "checkpoints", "checkpoints/step", "generated"]


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_something_else_in_the_place_of_a_file_is_one_line(
    whole: Path, attack: Callable[[Path], Attack], every: bool
) -> None:
    turn, verbs = count(), (*READING, *WRITING)
    cases: dict[str, tuple[Damage, tuple[str, ...]]] = {}
    for entry in entries(whole):
        for name, put in PUT.items():
            verb, turns = verbs[next(turn) % 9], next(turn)
            # All pairs take minutes; each verb meets each kind of file, and each thing in its place.
            chosen = verbs[turns % 5 :: 5] if every else ("agree", "find", verb) if turns % 3 else ("agree",)
            cases[f"{entry} is {name}"] = instead(entry, put), chosen
    attack(whole).all(cases)


def test_hostile_files_are_one_line(whole: Path, attack: Callable[[Path], Attack]) -> None:
    attack(whole).all({name: (damage, (*READING, *WRITING)) for name, damage in HOSTILE.items()})


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the administrator may read everything")
def test_a_run_without_rights_is_one_line(whole: Path, attack: Callable[[Path], Attack]) -> None:
    attack(whole).all({"no rights": (no_rights, (*READING, *WRITING))})


def test_strange_names_beside_a_checkpoint_inside_a_task_stay(inside_a_task: Path, whole: Path, tmp_path: Path) -> None:
    """They are no numbers of ours, whatever they look like."""
    folder = tmp_path / "run"
    shutil.copytree(inside_a_task, folder)
    names = {"state-backup.safetensors", "state-9999999999.safetensors", "state-.safetensors", "state-².safetensors"}
    for name in names:
        (folder / "checkpoints/step" / name).write_bytes(b"mine")
    assert in_child(lambda: resume(folder, quiet())) == 0
    assert {path.name for path in (folder / "checkpoints/step").iterdir()} == names
    assert (folder / "results.json").read_bytes() != b""
