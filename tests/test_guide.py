"""The page about a user's own parts: its Python is a module, and its config a run."""

import re
import sys
from pathlib import Path

import pytest

import plora
from plora.config import load_config
from plora.results import ClassRankings, read_record
from plora.runs import verify
from plora.testing import check_gate

PAGE = Path(__file__).parent.parent / "docs" / "guide" / "your-parts.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}[^\n]*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def my_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_parts.py").write_text("\n\n".join(_blocks("python")), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)


@pytest.mark.usefixtures("my_parts")
def test_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import my_parts  # type: ignore[import-not-found]

    (yaml,) = _blocks("yaml")
    (tmp_path / "mine.yaml").write_text(yaml, encoding="utf-8")
    folder = plora.run(load_config(tmp_path / "mine.yaml"))
    record = read_record(folder)
    assert record.complete
    assert any(share != 1 for share in record.gates[0].values())  # the gate has learned
    rankings = ClassRankings.read(folder / "predictions" / "task-05.parquet")
    assert my_parts.top_two_accuracy(rankings) >= (rankings.prediction == rankings.label).mean()
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    assert verify(folder).problems == ()


@pytest.mark.usefixtures("my_parts")
def test_the_gate_of_the_page_keeps_its_promises() -> None:
    import my_parts

    check_gate(my_parts.SoftGate)
