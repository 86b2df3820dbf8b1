"""Run folders with flipped, cut and inserted bytes: what reads them says which file is damaged, in one line."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from damage import FEW, damaged, only_clear_lines
from hypothesis import given
from hypothesis import strategies as st

import plora
from plora.config import RunConfig, load_config
from plora.errors import PloraError
from plora.events.console import Console
from plora.results import ClassRankings, find_runs, read_curves, read_record, write_report

FILES = ("results.json", "costs.json", "curves.jsonl", "config.yaml", "environment.json", "predictions/task-02.parquet")


@pytest.fixture(scope="module")
def run(toy_files: dict[str, Path], tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two tasks."""
    folder = tmp_path_factory.mktemp("run")
    tasks = [{"name": name, "train": str(toy_files[f"{name}-test"])} for name in ("food", "travel")]
    config: RunConfig = load_config(
        {
            "stream": {"kind": "local", "tasks": tasks},
            "backbone": {"id": str(tiny_backbone), "max_length": 16},
            "training": {"epochs": 2, "batch_size": 8, "log_every": 1},
            "output": str(folder),
        }
    )
    return plora.run(config, Console(live=False))


@pytest.fixture(scope="module")
def copied(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, bytes], Path]]:
    """Make the run's folder anew, with other bytes in one file."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"

        def copy(file: str, content: bytes) -> Path:
            shutil.rmtree(folder, ignore_errors=True)
            for name in FILES:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(run / name, folder / name)
            (folder / file).write_bytes(content)
            return folder

        yield copy


READERS: dict[str, Callable[[Path], object]] = {
    "results.json": lambda folder: (read_record(folder), find_runs([folder])),
    "costs.json": lambda folder: (read_record(folder), find_runs([folder])),
    "curves.jsonl": lambda folder: read_curves(folder / "curves.jsonl"),
    "predictions/task-02.parquet": lambda folder: ClassRankings.read(folder / "predictions/task-02.parquet"),
}


@pytest.mark.parametrize("file", READERS)
@given(data=st.data())
def test_readers(run: Path, copied: Callable[[str, bytes], Path], file: str, data: st.DataObject) -> None:
    whole = (run / file).read_bytes()
    content = data.draw(damaged(whole) | st.binary(max_size=40))
    folder = copied(file, content)
    with only_clear_lines(Path(file).name):
        READERS[file](folder)


@given(data=st.data())
def test_damaged_predictions_are_never_read_as_others(
    run: Path, copied: Callable[[str, bytes], Path], data: st.DataObject
) -> None:
    """The pages of a parquet file carry checksums: one flipped byte of the columns cannot become another score."""
    file = FILES[-1]
    whole = (run / file).read_bytes()
    place = data.draw(st.integers(4, len(whole) - 1))
    flipped = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    before = ClassRankings.read(run / file)
    try:
        after = ClassRankings.read(copied(file, flipped) / file)
    except PloraError:
        return
    for name in ("task", "example", "label", "prediction", "probability"):
        assert (getattr(after, name) == getattr(before, name)).all()


@FEW
@given(data=st.data())
def test_reports(run: Path, copied: Callable[[str, bytes], Path], data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(["curves.jsonl", "config.yaml", "environment.json", "results.json"]))
    folder = copied(file, data.draw(damaged((run / file).read_bytes()) | st.binary(max_size=40)))
    with only_clear_lines(file):
        write_report([folder], folder / "report.html")
