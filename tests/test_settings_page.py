"""The page of settings is a table of key, default and meaning, made from the classes."""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from plora.config import RunConfig
from plora.gates.settings import GATES
from plora.generators.settings import GENERATORS
from plora.optimizers.settings import OPTIMIZERS
from plora.problems.settings import PROBLEMS
from plora.strategies.settings import STRATEGIES
from plora.streams import STREAMS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def page() -> str:
    spec = importlib.util.spec_from_file_location("settings_tables", ROOT / "docs/hooks/settings_tables.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    text = (ROOT / "docs/guide/settings.md").read_text(encoding="utf-8")
    made: str = hook.on_page_markdown(text, page=SimpleNamespace(file=SimpleNamespace(src_uri=hook.PAGE)))
    assert hook.on_page_markdown(text, page=SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))) == text
    return made


def test_a_key_has_its_default_its_meaning_and_its_range(page: str) -> None:
    assert (
        "| `rank` | `8` | r, rows of A and columns of B; at most the smaller side of each adapted layer. (≥ 1) |"
        in page
    )
    assert "| `stream` | required | Where the tasks come from: `kind:` and its own keys. |" in page
    assert re.search(r"^\| `pooling` \| `null` \| .* One of `mean`, `first`. \|$", page, re.MULTILINE)


def test_no_key_is_without_a_meaning_and_no_default_is_written_as_python(page: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) > 200
    assert [key for key, _, meaning in rows if not meaning.strip()] == []
    told = "\n".join(default for _, default, _ in rows)
    assert not re.search(r"\b(None|True|False|PydanticUndefined|tuple|FieldInfo)\b|<", told)
    assert len(rows) == len(re.findall(r"^\| `", page, re.MULTILINE)), "a row is broken"


TABLES: dict[str, Mapping[str, type]] = {
    "gate": GATES,
    "generator": GENERATORS,
    "optimizer": OPTIMIZERS,
    "problem": PROBLEMS,
    "strategy": STRATEGIES,
    "stream": STREAMS,
}


@pytest.mark.parametrize("table", TABLES)
def test_every_kind_is_on_the_page(table: str) -> None:
    text = (ROOT / "docs/guide/settings.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^::: (plora\.[\w.]+)$", text, re.MULTILINE))
    missing = [kind for kind, cls in TABLES[table].items() if f"{cls.__module__}.{cls.__name__}" not in named]
    assert not missing


def test_every_key_of_a_run_is_on_the_page(page: str) -> None:
    assert [key for key in RunConfig.model_fields if f"| `{key}` |" not in page] == []
