"""Runs of an older version: each verb that reads reads them, and an upgrade that was cut is made again."""

import shutil
from pathlib import Path

import pytest
from attempts import READING, Case, Outcome, attempt
from killing import KILLED, in_child

from plora.run_folder.folder import RunFolder
from plora.runs.writing import own

SCHEMA_2 = Path(__file__).parents[1] / "goldens" / "schema_2"
RUNS = ("lateral", "replay", "frozen-ridge")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old runs, with their backbone and data beside them."""
    shutil.copytree(SCHEMA_2, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return Path("runs/golden")


def _upgrade(run: Path) -> None:
    with own(RunFolder.existing(run)):
        pass


def _files(run: Path) -> dict[str, bytes]:
    found = (path for path in run.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("name", RUNS)
def test_old_runs_are_read_and_nothing_is_written(old: Path, tmp_path: Path, name: str) -> None:
    run = old / name / "seed-0"
    before, case = _files(run), Case(run, {}, named=name == "lateral")
    outcomes = attempt([(verb, lambda: case) for verb in READING], tmp_path / "answers")
    assert _files(run) == before
    for verb, outcome in zip(READING, outcomes, strict=True):
        if verb == "verify" and outcome.how == "refused":  # the same bits are promised for the same machine alone
            assert "probabilities by up to" in outcome.said
        elif verb == "export" and outcome.how == "refused":
            assert any(reason in outcome.said for reason in ("no slots to write", "read")), outcome.said
        else:
            assert outcome == Outcome("done", result=outcome.result), (verb, outcome.said)


@pytest.mark.parametrize("name", RUNS)
def test_an_upgrade_that_was_cut_is_made_again(old: Path, name: str) -> None:
    run = old / name / "seed-0"
    _upgrade(Path(shutil.copytree(run, "whole")))
    whole, cuts = _files(Path("whole")), 0
    for write in range(1, 100):
        cut = Path(shutil.copytree(run, f"cut-{write}"))
        status = in_child(lambda cut=cut: _upgrade(cut), failpoint=f"write:{write}")
        assert status in (0, KILLED)
        cuts += status == KILLED
        _upgrade(cut)
        assert _files(cut) == whole
        if status == 0:
            break
    assert cuts >= 10  # predictions, manifests, environment, costs, record, config
