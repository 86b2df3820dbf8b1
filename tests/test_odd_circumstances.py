"""Where and how people start plora: without a cache, without a stdout, from elsewhere, stopped halfway."""

import errno
import io
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import AutoTokenizer
from typer.testing import CliRunner

from plora import cache
from plora.cli import app
from plora.cli.arguments import split_arguments
from plora.config import RunConfig, load_config, load_task
from plora.errors import RunError
from plora.events.console import Console, on_a_terminal
from plora.moment import Moment
from plora.problems import TextClassification
from plora.runs import evaluate, extend, predict, resume, run
from plora.streams.base import Texts
from plora.streams.docstring_corpus import read_corpus
from plora.training import phase

Config = Callable[..., RunConfig]


@pytest.fixture(autouse=True)
def _say_again() -> None:
    cache._say_once.cache_clear()


@pytest.fixture
def problem(tiny_backbone: Path, tmp_path: Path) -> Callable[[], TextClassification]:
    """Make a problem without anything in memory, whose tokens are kept in `tmp_path / "kept"`."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)
    return lambda: TextClassification(tokenizer, 16, "mean", tmp_path / "kept")


SPLIT = Texts(("old wave", "a loaf of rye", "apple"), np.array([0, 1, 1]))


def cache_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "plora.cache"]


@pytest.mark.odd("a cache that cannot be written", "the run goes on without it; one line names `PLORA_CACHE`")
def test_a_cache_that_is_a_file(
    toy_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "afile").touch()
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "afile"))
    config = toy_config("training.epochs=1")
    folder = run(config, Console(silent=True))
    assert (folder / "results.json").exists()
    (line,) = cache_lines(caplog)
    assert "afile" in line
    assert "set PLORA_CACHE to a folder" in line


@pytest.mark.odd("a user without a home folder", "the same")
def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("PLORA_CACHE")
    monkeypatch.setattr(Path, "home", no_home)
    assert cache.cache_folder() is None
    assert cache.cache_folder() is None
    (line,) = cache_lines(caplog)
    assert "no home folder" in line
    assert "PLORA_CACHE" in line


@pytest.mark.odd("a disk that is full when tokens are kept", "the same")
def test_a_full_disk(
    problem: Callable[[], TextClassification], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("plora.tensor_file.save_file", full)
    assert len(problem().tokenized(SPLIT)) == 3
    (line,) = cache_lines(caplog)
    assert "No space left" in line
    assert "PLORA_CACHE" in line


@pytest.mark.odd("a bit of the cache that has changed", "what is damaged is made anew; no result changes")
def test_a_flipped_bit_in_the_tokens(problem: Callable[[], TextClassification], tmp_path: Path) -> None:
    expected = problem().tokenized(SPLIT)
    (file,) = (tmp_path / "kept").glob("*.safetensors")
    whole = file.read_bytes()
    for place in range(8, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        found = problem().tokenized(SPLIT)
        assert all(
            (ours == theirs).all() and ours.dtype == theirs.dtype
            for ours, theirs in zip(found.tensors().values(), expected.tensors().values(), strict=True)
        ), place
        assert load_file(file).keys() == expected.tensors().keys()  # and is written again


def test_tokens_of_other_texts_are_not_taken_for_these(
    problem: Callable[[], TextClassification], tmp_path: Path
) -> None:
    problem().tokenized(SPLIT)
    (mine,) = (tmp_path / "kept").glob("*.safetensors")
    problem().tokenized(Texts(("apple", "old", "a"), SPLIT.labels))
    (other,) = {*(tmp_path / "kept").glob("*.safetensors")} - {mine}
    mine.write_bytes(other.read_bytes())
    assert problem().tokenized(SPLIT).lengths.tolist() == problem().tokenize(SPLIT).lengths.tolist()


def test_a_corpus_is_read_where_no_cache_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "afile").touch()
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "afile"))
    monkeypatch.setattr("plora.streams.docstring_corpus._all_sources", lambda: ())
    assert read_corpus() == []
    assert len(cache_lines(caplog)) == 1


class _Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.odd("no stdout: closed, full, or a pipe that nobody reads any more", "the run goes on; `log.txt` has all")
@pytest.mark.parametrize("stdout", [lambda: None, _Broken, _closed], ids=["none", "broken pipe", "closed"])
def test_nobody_listens(stdout: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", stdout())
    assert not on_a_terminal()
    with Console(log=tmp_path / "log.txt") as console:
        console.event("task_done", task="food")
        console.progress("train", 1, 2)
        console.say("a table")
    assert "event=task_done task=food" in (tmp_path / "log.txt").read_text()


@pytest.mark.odd(
    "a config in a folder that is named `lr=0.01`", "a path: no key has a slash, and what exists is a file"
)
def test_a_path_with_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.01").mkdir()
    (tmp_path / "lr=0.01/mine.yaml").touch()
    (tmp_path / "a=b.yaml").touch()
    paths, settings = split_arguments(["lr=0.01/mine.yaml", "./lr=0.01/mine.yaml", "a=b.yaml", "output=a/b", "seed=1"])
    assert paths == [Path("lr=0.01/mine.yaml"), Path("./lr=0.01/mine.yaml"), Path("a=b.yaml")]
    assert settings == ["output=a/b", "seed=1"]


@pytest.mark.odd("Ctrl-C in the middle of a run", "says what is kept, and names `plora resume`; exit code 130")
def test_ctrl_c(toy_config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    config = toy_config("training.epochs=1")
    steps = []

    def stopped(*now: Any) -> Moment:  # noqa: ANN401
        steps.append(now)
        if len(steps) > 10:  # a task has 7
            raise KeyboardInterrupt
        return Moment(*now)

    with monkeypatch.context() as patch:
        patch.setattr(phase, "Moment", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    said = capsys.readouterr().out
    assert f"interrupted: 1 of 3 stages are learned and kept; `plora resume {config.folder}` goes on" in said
    assert "event=interrupted" in (config.folder / "log.txt").read_text()
    resume(config.folder, Console(silent=True))


@pytest.mark.odd("a run with relative paths, worked on from another folder", "they lead from where the run was made")
def test_a_run_is_worked_on_from_elsewhere(
    toy_values: dict[str, object],
    toy_files: Mapping[str, Path],
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (home / "enc").symlink_to(tiny_backbone)
    for name in ("food-train", "food-test", "travel-train"):
        (home / f"{name}.jsonl").write_bytes(toy_files[name].read_bytes())
    (elsewhere / "more.jsonl").write_bytes(toy_files["travel-train"].read_bytes())
    tasks = [{"name": "food", "train": "food-train.jsonl", "test": "food-test.jsonl"}]
    values = {
        **toy_values,
        "backbone": {"id": "enc", "max_length": 16},
        "stream": {"kind": "local", "tasks": tasks},
        "method": "per_task",
        "training": {"epochs": 1, "batch_size": 16},
    }
    monkeypatch.chdir(home)
    folder = run(load_config(values), Console(silent=True))
    here = predict(folder, ["apple"], "food")
    monkeypatch.chdir(elsewhere)
    assert predict(folder, ["apple"], "food") == here
    assert evaluate(folder).changed == 0
    extend(folder, load_task(Path("more.jsonl"), ["name=travel"]), Console(silent=True))
    assert predict(folder, ["apple"], "food") == here
    monkeypatch.chdir(home)
    assert evaluate(folder).tasks == ["food", "travel"]
    (home / "enc").unlink()
    with pytest.raises(RunError, match=r"learned on the backbone folder .*home/enc, which is gone.* start where it is"):
        predict(folder, ["apple"], "food")


OWN = """
from plora.strategies.settings import StrategySettings

class Mine(StrategySettings):
    part = "own_strategy_of_a_test:Doing"
    kind: str = "own_strategy_of_a_test:Mine"

def __getattr__(name):
    from plora.strategies import Strategy
    return type(name, (Strategy,), {})
"""


@pytest.mark.odd("a strategy of one's own, where only labels are wanted", "neither needed nor run")
def test_an_own_strategy_is_not_needed_to_predict(
    toy_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_strategy_of_a_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = toy_config("training.epochs=1", "strategies=[{kind: 'own_strategy_of_a_test:Mine'}]")
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    folder = run(config, Console(silent=True))
    before = predict(folder, ["apple"], "food")
    monkeypatch.delenv("PLORA_TRUST_OWN_PARTS")
    monkeypatch.delitem(sys.modules, "own_strategy_of_a_test")
    (tmp_path / "own_strategy_of_a_test.py").unlink()
    assert predict(folder, ["apple"], "food") == before
    with pytest.raises(RunError, match="asks to run Python code of 'own_strategy_of_a_test:Mine'"):
        evaluate(folder)


def test_version() -> None:
    from plora.version import __version__

    assert CliRunner().invoke(app, ["--version"]).stdout == f"plora {__version__}\n"
