"""What was published, what plora reproduces of it, and what that means: the rules of `results/ledger.json`.

A published number is data with a source. A reproduced one is never typed: it is a reference to a number that a
command of ours has measured, `<file>/<key>/…` in `benchmarks/results`, where a part `name=value,…` picks the one
entry of a list that has these values.
"""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from plora.methods import METHODS

RESULTS = Path(__file__).parent / "results"

Certainty = Literal["P", "S", "P/S", "M", "log", "iss"]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Entry):
    text: str
    url: str = ""
    certainty: Certainty


class Row(_Entry):
    """One method in one setting; `published` and `measured` have a cell per column of the setting.

    Args:
        name: as the source calls it.
        method: in plora, with its head (`frozen-ncm`); None where plora has none like it and plans none.
        settings: of the method, where they are not its own.
        published: as printed in the source.
        source: a key of `Ledger.sources`.
        measured: references to fractions.
        seconds: reference to what the measured run took.
    """

    name: str
    method: str | None
    settings: str = ""
    published: tuple[str | None, ...] = ()
    source: str = ""
    measured: tuple[str | None, ...] = ()
    seconds: str = ""


class Setting(_Entry):
    """Data, scenario and backbone that its rows have in common.

    Args:
        title: a heading.
        about: a paragraph.
        problem: a module of `plora.problems`, there or not.
        columns: what is measured, in percent.
        needs: what this machine lacks to run it.
        tolerance: in points; needed to call a published number reproduced.
        rows: of the table.
    """

    title: str
    about: str
    problem: str
    columns: tuple[str, ...] = Field(min_length=1)
    needs: tuple[str, ...] = ()
    tolerance: float | None = Field(default=None, gt=0)
    rows: tuple[Row, ...] = Field(min_length=1)


class Ledger(_Entry):
    """All settings, the sources that they cite, and the methods that plora will have."""

    planned: tuple[str, ...]
    sources: dict[str, Source]
    settings: tuple[Setting, ...]

    def require_sound(self) -> None:
        """Refuse a row that cites nothing, lacks a cell, or names a method that is neither there nor planned.

        Raises:
            ValueError: names setting and row.
        """
        for setting in self.settings:
            for row in setting.rows:
                place = f"ledger: '{row.name}' of '{setting.title}'"
                if row.method is not None and not exists(row.method) and row.method not in self.planned:
                    raise ValueError(f"{place}: method '{row.method}' is neither in plora nor planned")
                if bool(row.published) != bool(row.source) or (row.source and row.source not in self.sources):
                    raise ValueError(f"{place}: source '{row.source}' must be one of the sources, with numbers")
                if any(cells and len(cells) != len(setting.columns) for cells in (row.published, row.measured)):
                    raise ValueError(f"{place}: needs a cell for each of {', '.join(setting.columns)}")
                if row.published and setting.tolerance is None:
                    raise ValueError(f"{place}: published numbers need a tolerance")


def exists(method: str) -> bool:
    """Say whether plora has a method, and the head after its dash."""
    name, _, head = method.partition("-")
    return name in METHODS and (not head or head in METHODS[name].heads)


def number(reference: str) -> float:
    """Return the measured number that a reference names.

    Raises:
        ValueError: it names none, or several.
    """
    value = _follow(reference)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"ledger: '{reference}' is not a number: {str(value)[:60]}")
    return float(value)


def hardware(reference: str) -> str:
    """Return on what the file of a reference was measured."""
    return str(_follow(f"{reference.partition('/')[0]}/hardware"))


def status(row: Row, setting: Setting, measured: Sequence[float | None]) -> str:
    """Return what can be said of a row.

    Args:
        row: published numbers in percent.
        setting: of the row.
        measured: a fraction per column, or nothing.
    """
    if row.method is None:
        return "not planned"
    if not exists(row.method):
        return "not there yet"
    if importlib.util.find_spec(f"plora.problems.{setting.problem}") is None:
        return f"not there yet: {setting.problem.replace('_', ' ')}"
    not_run = f"not run: needs {' and '.join(setting.needs)}" if setting.needs else "not run"
    if not row.published:
        return "no published number" if any(value is not None for value in measured) else not_run
    cells = zip(row.published, measured or [None] * len(row.published), strict=True)
    pairs = [(_percent(text), value) for text, value in cells if text is not None]
    misses = [abs(100 * value - percent) for percent, value in pairs if value is not None]
    if not misses:
        return not_run
    if setting.tolerance is None or max(misses) > setting.tolerance:
        return "outside tolerance"
    return "reproduced" if len(misses) == len(pairs) else "reproduced in part"


def _percent(text: str) -> float:
    return float(text.partition("±")[0])


def _follow(reference: str) -> object:
    file, *keys = reference.split("/")
    path = RESULTS / f"{file}.json"
    if not path.is_file():
        raise ValueError(f"ledger: '{reference}' leads nowhere: there is no {file}.json")
    value: object = json.loads(path.read_text(encoding="utf-8"))
    for key in keys:
        if isinstance(value, dict) and key in value:
            value = value[key]
            continue
        wanted = dict(part.split("=", 1) for part in key.split(",") if "=" in part)
        entries = value if isinstance(value, list) and wanted else []
        found = [entry for entry in entries if all(str(entry.get(name)) == wanted[name] for name in wanted)]
        if len(found) != 1:
            raise ValueError(f"ledger: '{reference}' leads nowhere: {len(found)} entries are '{key}'")
        value = found[0]
    return value
