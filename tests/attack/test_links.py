"""Something else than a plain file or folder in each place of a run: refused in one line, or it changes nothing.

Whatever a verb does, what is outside stays as it was: same files, same bytes, same times.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
from attempts import Outcome, replace_by, state
from cases import Attacked

PLACES = {
    "config.yaml": "per_task",
    "environment.json": "sequential",
    "results.json": "per_task",
    "costs.json": "full",
    "forgotten.json": "per_task",
    "log.txt": "per_task",
    "curves.jsonl": "per_task",
    ".lock": "per_task",
    "predictions": "ncm",
    "predictions/task-00.parquet": "per_task",
    "predictions/task-02.parquet": "ewc_lora",
    "generated": "per_task",
    "slots": "per_task",
    "slots/*": "per_task",
    "slots/*/adapter_model.safetensors": "per_task",
    "slots/*/adapter_config.json": "per_task",
    "heads": "full",
    "heads/*.safetensors": "per_task",
    "gates": "routed",
    "gates/*.safetensors": "routed",
    "strategies": "ewc_lora",
    "strategies/*.safetensors": "ewc_lora",
    "checkpoints": "per_task",
    "checkpoints/task-01": "per_task",
    "checkpoints/task-02": "full",
    "checkpoints/task-01/manifest.json": "per_task",
    "checkpoints/task-02/manifest.json": "sequential",
    "checkpoints/task-02/backbone.safetensors": "full",
    "checkpoints/step": "unfinished",
    "checkpoints/step/manifest.json": "unfinished",
    "checkpoints/step/*.safetensors": "unfinished",
    "trackers": "per_task",
}
"""Each place of a run (the first that fits, of several), and a run that has it."""
FOLDERS = {"predictions", "generated", "slots", "slots/*", "heads", "gates", "strategies", "checkpoints", "trackers"}
FOLDERS |= {"checkpoints/task-01", "checkpoints/task-02", "checkpoints/step"}
IN_TURN = ("verify", "resume", "evaluate", "forget", "predict", "extend", "report", "export", "metrics", "table")
"""The verbs, so that of any three in a row one writes."""


def _found(run: Path, place: str) -> Path:
    return next(iter(sorted(run.glob(place))), run / place)


def _decoy(path: Path, outside: Path, copy: Path, folder: bool) -> None:
    name = path.name if (outside / "home" / path.name).exists() else ".bashrc"
    path.symlink_to(outside / "home" if folder else outside / "home" / name)


def _copy(path: Path, outside: Path, copy: Path, folder: bool) -> None:
    if copy.exists():
        path.symlink_to(copy)


def _hard(path: Path, outside: Path, copy: Path, folder: bool) -> None:
    if copy.is_dir():
        shutil.copytree(copy, path, copy_function=os.link)
    elif copy.exists():
        os.link(copy, path)
    elif not folder:
        os.link(outside / "home" / ".bashrc", path)


def _other(path: Path, outside: Path, copy: Path, folder: bool) -> None:
    if folder:
        path.write_text("a file", encoding="utf-8")
    else:
        path.mkdir()


KINDS: Mapping[str, Callable[[Path, Path, Path, bool], None]] = {
    "link to a decoy": _decoy,
    "link to a copy": _copy,
    "link to itself": lambda path, *_: path.symlink_to(path.name),
    "link to nothing": lambda path, outside, *_: path.symlink_to(outside / "home" / "new"),
    "link to a device": lambda path, *_: path.symlink_to("/dev/zero"),
    "named pipe": lambda path, *_: os.mkfifo(path),
    "hard link": _hard,
    "file or folder": _other,
}


def _plant(place: str, kind: str, attacked: Attacked, run: Path) -> None:
    path = _found(run, place)
    copy = attacked.outside / PLACES[place] / path.relative_to(run)
    replace_by(path)
    KINDS[kind](path, attacked.outside, copy, place in FOLDERS)


def _attack(
    attacked: Attacked, expected: Mapping[tuple[str, str], Outcome], place: str, cases: list[tuple[str, str]]
) -> None:
    run = PLACES[place]
    before = state(attacked.outside)
    outcomes = attacked.attempt(
        *((verb, attacked.copy(run, partial(_plant, place, kind, attacked))) for kind, verb in cases)
    )
    wrong = [
        f"{place}, {kind}, {verb}: {outcome.how}: {outcome.said}"
        for (kind, verb), outcome in zip(cases, outcomes, strict=True)
        if not outcome.clear and outcome != expected[run, verb]
    ]
    assert not wrong, "\n".join(wrong)
    after = state(attacked.outside)
    assert {name for name in before | after if before.get(name) != after.get(name)} == set()


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_followed(attacked: Attacked, expected: Mapping[tuple[str, str], Outcome], place: str) -> None:
    first = [*PLACES].index(place)
    verbs = [IN_TURN[(first + number) % len(IN_TURN)] for number in range(len(KINDS))]
    _attack(attacked, expected, place, [*zip(KINDS, verbs, strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_no_verb_follows_anything(attacked: Attacked, expected: Mapping[tuple[str, str], Outcome], place: str) -> None:
    """Every sixth of all pairs at each place, others at the next: one rule guards all, and all take 9 minutes."""
    pairs = [(kind, verb) for kind in KINDS for verb in IN_TURN]
    _attack(attacked, expected, place, pairs[[*PLACES].index(place) % 6 :: 6])
