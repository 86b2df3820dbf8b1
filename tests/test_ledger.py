"""The ledger: references lead to measured numbers, methods exist or are planned, and the status follows."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks import ledger, render
from benchmarks.ledger import Ledger, Row, Setting, exists, number, status
from plora.methods import METHODS

ROOT = Path(render.__file__).parent.parent
COMMITTED = json.loads((render.RESULTS / "ledger.json").read_text(encoding="utf-8"))


def setting(rows: list[Row] | None = None, **changes: object) -> Setting:
    values = {"title": "t", "about": "a", "problem": "text_classification", "columns": ("x", "y"), "tolerance": 1.0}
    return Setting(**values | {"rows": rows or [Row(name="n", method="o_lora")]} | changes)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of measured JSON."""
    runs = [{"method": "a", "seed": 0, "accuracy": 0.5}, {"method": "a", "seed": 1, "accuracy": 0.6}]
    (tmp_path / "some.json").write_text(json.dumps({"hardware": "a machine", "runs": runs, "seconds": {"b": 3}}))
    monkeypatch.setattr(ledger, "RESULTS", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("row", "values", "expected"),
    [
        (Row(name="L2P", method=None), [], "not planned"),
        (Row(name="later", method="sd_lora_to_come"), [], "not there yet"),
        (Row(name="O", method="o_lora"), [], "not run: needs a GPU and a hub"),
        (Row(name="O", method="o_lora"), [0.5, 0.5], "no published number"),
        (Row(name="O", method="o_lora", published=("50.4", "61.0±0.7"), source="s"), [0.5, 0.6], "reproduced"),
        (Row(name="O", method="o_lora", published=("50.4", None), source="s"), [0.5, 0.9], "reproduced"),
        (Row(name="O", method="o_lora", published=("50.4", "61.0"), source="s"), [0.5, None], "reproduced in part"),
        (Row(name="O", method="o_lora", published=("50.4", "61.1"), source="s"), [0.5, 0.6], "outside tolerance"),
        (Row(name="O", method="o_lora", published=("48.9", "61.0"), source="s"), [0.5, None], "outside tolerance"),
    ],
)
def test_the_status_follows(row: Row, values: list[float | None], expected: str) -> None:
    assert status(row, setting(needs=("a GPU", "a hub")), values) == expected


def test_the_status_names_a_problem_that_is_not_there() -> None:
    row = Row(name="O", method="o_lora", published=("1", "2"), source="s")
    assert status(row, setting(problem="made_up_things"), []) == "not there yet: made up things"
    assert status(row, setting(), []) == "not run"


def test_a_number_measured_beside_the_published_columns_reproduces_nothing() -> None:
    row = Row(name="O", method="o_lora", published=("50", None), source="s")
    assert status(row, setting(), [None, 0.5]) == "not run"


def test_heads_are_part_of_a_method() -> None:
    assert exists("frozen-ridge")
    assert not exists("frozen-made_up")
    assert not exists("made_up")


def test_a_reference_leads_to_a_number(measured: Path) -> None:
    assert number("some/runs/method=a,seed=1/accuracy") == 0.6
    assert number("some/seconds/b") == 3
    assert ledger.hardware("some/seconds/b") == "a machine"


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ("none/x", "there is no none.json"),
        ("some/rums", "0 entries are 'rums'"),
        ("some/runs/method=b/accuracy", "0 entries"),
        ("some/runs/method=a/accuracy", "2 entries"),
        ("some/runs/method=a,seed=0/acuracy", "0 entries"),
        ("some/runs/0/accuracy", "0 entries"),
        ("some/hardware", "not a number: a machine"),
    ],
)
def test_a_dangling_reference_is_refused(measured: Path, reference: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        number(reference)


@pytest.mark.parametrize(
    ("row", "changes", "complaint"),
    [
        ({"method": "o_lorra"}, {}, "'o_lorra' is neither in plora nor planned"),
        ({"published": ["1", "2"]}, {}, "source '' must be"),
        ({"published": ["1", "2"], "source": "unknown"}, {}, "source 'unknown' must be"),
        ({"source": "s"}, {}, "with numbers"),
        ({"published": ["1"], "source": "s"}, {}, "a cell for each of x, y"),
        ({"measured": ["some/seconds/b"]}, {}, "a cell for each of x, y"),
        ({"published": ["1", "2"], "source": "s"}, {"tolerance": None}, "need a tolerance"),
    ],
)
def test_an_unsound_row_is_refused(row: dict[str, object], changes: dict[str, object], complaint: str) -> None:
    values = setting([Row(**{"name": "n", "method": "o_lora"} | row)], **changes)
    sources = {"s": {"text": "a paper", "certainty": "P"}}
    with pytest.raises(ValueError, match=complaint):
        Ledger(planned=(), sources=sources, settings=(values,)).require_sound()


def test_a_number_typed_as_measured_is_refused() -> None:
    with pytest.raises(ValidationError, match="string"):
        Row(name="n", method="o_lora", measured=(0.5, 0.6))


def test_every_method_has_rows_and_every_planned_one_is_in_the_plan() -> None:
    found = Ledger.model_validate(COMMITTED)
    named = {row.method for place in found.settings for row in place.rows if row.method}
    heads = {f"frozen-{head}" for head in METHODS["frozen"].heads}
    assert heads | (set(METHODS) - {"frozen"}) <= named
    plan = (ROOT / "docs/methods.md").read_text(encoding="utf-8").partition("## Planned")[2]
    for name in found.planned:
        assert exists(name) or name.rpartition("-")[2] in plan


def test_the_committed_page_is_the_data() -> None:
    page = (ROOT / "docs/results/ledger.md").read_text(encoding="utf-8")
    assert "docs/results/ledger.md" in render.PAGES
    assert render.rendered(page) == page


@pytest.mark.parametrize("change", ["row", "summary"])
def test_the_check_fails_on_a_changed_page(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/results/ledger.md").read_text(encoding="utf-8")
    pattern, by = (
        (r"not run", "reproduced") if change == "row" else (r"\| not planned \| \d+ \|", "| not planned | 0 |")
    )
    before, mark, table = page.partition("<!-- results: ledger -->")
    changed = before + mark + re.sub(pattern, by, table, count=1)
    assert changed != page
    (tmp_path / "page.md").write_text(changed, encoding="utf-8")
    monkeypatch.setattr(render, "ROOT", tmp_path)
    monkeypatch.setattr(render, "PAGES", ("page.md",))
    monkeypatch.setattr("sys.argv", ["render", "--check"])
    with pytest.raises(SystemExit, match=r"page\.md differ"):
        render.main()
    monkeypatch.setattr("sys.argv", ["render"])
    render.main()
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == page


def test_the_check_fails_on_a_dangling_reference(measured: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no quickstart\.json"):
        render.ledger(COMMITTED)
