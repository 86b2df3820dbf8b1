"""One self-contained report of one run or of several: no network, light and dark, printable.

The page is complete without scripts: tables, and pictures drawn here. Where scripts run, `report.js` draws charts
from the numbers that stand in the page as JSON, and they take the place of the pictures that show the same. A content
security policy allows that one script and that one style sheet by their hashes, and nothing else.
"""

import base64
import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from plora.atomic import JsonValue, write_text
from plora.errors import RunError
from plora.results.doubts import group_doubts, run_doubts
from plora.results.figure import to_svg
from plora.results.gallery import group_pictures, run_pictures
from plora.results.metrics import METRICS, Metric
from plora.results.record import RunRecord
from plora.results.runs import CONFIG_FILE, FoundRuns, find_runs, group_runs, series
from plora.results.tables import gaps, percent

LONGEST_FILE = 20_000  # characters of a config or environment that are shown
ALL_FILES = 1_500_000  # characters of all of them together
PICTURED_RUNS = 12  # of more runs, each has its table, and its pictures in a report of its own
ALL_PICTURES = 2_500_000  # characters of the pictures of single runs
ALL_NUMBERS = 1_500_000  # characters of the numbers for the charts
INTERACTIVE = ("matrix", "tasks", "methods")  # pictures that the charts supersede where scripts run
TABLE_UP_TO = 20  # tasks: the accuracy matrix stands as a table too


@dataclass(frozen=True)
class RunSection:
    """What the page shows of one run.

    Args:
        title, anchor, folder, record, metrics: of the run.
        doubts: one line each.
        replaced: pictures that the charts of `report.js` take the place of.
        pictures: all others.
        config, environment: the text of its files.
        commands: what to do again, and the command.
    """

    title: str
    anchor: str
    folder: str
    record: RunRecord
    metrics: Sequence[Metric]
    doubts: Sequence[str]
    replaced: Sequence[Markup]
    pictures: Sequence[Markup]
    config: str
    environment: str
    commands: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class MethodRow:
    """What the page shows of the runs of one method that differ in their seed only.

    Args:
        label: of the series.
        seeds: number of different seeds.
        cells: mean and standard deviation of each metric; "n/a" where a run has no value.
    """

    label: str
    seeds: int
    cells: Sequence[str]


@dataclass(frozen=True)
class GroupSection:
    """What the page shows of runs that may be compared.

    Args:
        anchor: of the group in the page.
        stream, scenario, fingerprint: what they have in common.
        sections: the runs, one each.
        compared: those that are complete.
        methods: those by method.
        doubts: of the comparison.
        replaced, pictures: of the comparison, those that the charts supersede and all others; none where there is
            nothing to compare.
        reasons: why cells of the table are "n/a", one line each.
    """

    anchor: str
    stream: str
    scenario: str
    fingerprint: str
    sections: Sequence[RunSection]
    compared: Sequence[RunSection]
    methods: Sequence[MethodRow]
    doubts: Sequence[str]
    replaced: Sequence[Markup]
    pictures: Sequence[Markup]
    reasons: Sequence[str]


def write_report(runs: Iterable[Path], out: Path) -> FoundRuns:
    """Write `out`, one HTML file, about every run that `runs` name.

    Runs of different streams, scenarios or data are never mixed: each group has its own table. Unfinished
    runs have their section and a warning, but stand in no table; damaged runs below a parent folder are named
    and left out.

    Args:
        runs: run folders, or parents of some.
        out: the file to write, atomically.

    Returns:
        What was found, left out or unfinished (the page names the same).

    Raises:
        RunError: a path is not a run, or is a damaged one; one line.
    """
    found = find_runs(runs)
    if not found.runs:
        raise RunError("no run can be reported: " + "; ".join([*found.left_out, *found.unfinished]))
    folders = {id(record): folder for folder, record in found.runs.items()}
    groups: list[GroupSection] = []
    number = 0
    pictured = len(found.runs) <= PICTURED_RUNS
    longest = min(LONGEST_FILE, ALL_FILES // (2 * len(found.runs)))
    room = ALL_PICTURES
    for records in group_runs(found.runs.values()):
        sections = []
        for record in records:
            number += 1
            section = _run_section(folders[id(record)], record, f"run-{number}", pictured, longest)
            room -= sum(map(len, [*section.replaced, *section.pictures]))
            if room < 0:
                section = replace(section, replaced=(), pictures=())
            sections.append(section)
        groups.append(_group_section(sections, f"group-{len(groups) + 1}"))
    lines = [*found.left_out, *found.unfinished]
    if number == 1:  # its section says itself that it is unfinished
        lines = [line for line in lines if not line.startswith(f"{next(iter(found.runs))}: unfinished")]
    write_text(out, render(groups, lines))
    return found


def render(groups: Sequence[GroupSection], left_out: Sequence[str]) -> str:
    """Return the page; every text that is not Markup is escaped."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=percent, seconds=_seconds, size=_size, count=_count, unit=_unit)
    room = files("plora.results")
    style, script = (room.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    page: str = environment.from_string(room.joinpath("report.html.j2").read_text(encoding="utf-8")).render(
        groups=groups,
        definitions=METRICS,
        left_out=left_out,
        single=sum(len(group.sections) for group in groups) == 1,
        table_up_to=TABLE_UP_TO,
        style=Markup(style),
        script=Markup(script),
        style_hash=Markup(_hash(style)),
        script_hash=Markup(_hash(script)),
        numbers=_numbers(groups),
    )
    return page


def _run_section(folder: Path, record: RunRecord, anchor: str, pictured: bool, longest: int) -> RunSection:
    doubts = run_doubts(record)
    figures, left_out = run_pictures(folder, record) if pictured else ({}, [])
    doubts += left_out
    drawn = {name: Markup(to_svg(figure, f"{anchor}-{name}")) for name, figure in figures.items()}
    replaced = [picture for name, picture in drawn.items() if name in INTERACTIVE]
    pictures = [picture for name, picture in drawn.items() if name not in INTERACTIVE]
    name = os.fsencode(folder).decode("utf-8", "replace")  # a folder's name need not be text
    return RunSection(
        title=f"{record.name} / {record.method} / seed {record.seed}",
        anchor=anchor,
        folder=name,
        record=record,
        metrics=list(record.metrics.values()),
        doubts=doubts,
        replaced=replaced,
        pictures=pictures,
        config=_text(folder, CONFIG_FILE, longest),
        environment=_text(folder, record.environment, longest),
        commands=_commands(name, record.complete),
    )


def _commands(folder: str, complete: bool) -> list[tuple[str, str]]:
    """Return what can be done again with a run, and the command."""
    run = shlex.quote(folder)
    again = f"plora run {shlex.quote(f'{folder}/{CONFIG_FILE}')} output=runs-again"
    commands = [
        ("repeat it, in another folder", again),
        ("check its files, and predict again", f"plora verify {run}"),
        ("score its last state again", f"plora evaluate {run}"),
        ("write a report of it alone", f"plora report {run}"),
    ]
    return commands if complete else [("go on where it stopped", f"plora resume {run}"), *commands]


def _group_section(sections: Sequence[RunSection], salt: str) -> GroupSection:
    compared = [section for section in sections if section.record.complete]
    records = [section.record for section in compared]
    drawn = {name: Markup(to_svg(figure, f"{salt}-{name}")) for name, figure in group_pictures(records).items()}
    first = sections[0].record
    return GroupSection(
        anchor=salt,
        stream=first.stream.name,
        scenario=first.scenario,
        fingerprint=first.stream.fingerprint,
        sections=sections,
        compared=compared,
        methods=[_method_row(label, runs) for label, runs in series(records).items()],
        doubts=group_doubts(records),
        replaced=[picture for name, picture in drawn.items() if name in INTERACTIVE],
        pictures=[picture for name, picture in drawn.items() if name not in INTERACTIVE],
        reasons=gaps(records),
    )


def _method_row(label: str, runs: Sequence[RunRecord]) -> MethodRow:
    cells = []
    for definition in METRICS:
        values = [run.metrics[definition.name].value for run in runs]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            cells.append(percent(None))
        elif len(known) == 1:
            cells.append(percent(known[0]))
        else:
            cells.append(f"{percent(float(np.mean(known)))} ± {percent(float(np.std(known, ddof=1)))}")
    return MethodRow(label, len({run.seed for run in runs}), cells)


def _numbers(groups: Sequence[GroupSection]) -> Markup:
    """Return the numbers of the charts as JSON for a script element; empty where they are too many for a page.

    No "<", ">" or "&" is in it, so nothing that it says can end the element or begin a comment in it.
    """
    content: JsonValue = {
        "metrics": [
            {"symbol": metric.symbol, "title": metric.title, "text": metric.text, "unit": _unit(metric.name)}
            for metric in METRICS
        ],
        "groups": [_group_numbers(group) for group in groups],
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    if len(text) > ALL_NUMBERS:
        return Markup("")
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _group_numbers(group: GroupSection) -> JsonValue:
    compared = {id(section.record) for section in group.compared}
    labels = series([section.record for section in group.sections])
    label_of = {id(run): number for number, runs in enumerate(labels.values()) for run in runs}
    return {
        "id": group.anchor,
        "tasks": list(group.sections[0].record.tasks),
        "series": list(labels),
        "runs": [
            {
                "id": section.anchor,
                "name": section.record.name,
                "series": label_of[id(section.record)],
                "seed": section.record.seed,
                "complete": id(section.record) in compared,
                "matrix": [_cells(row) for row in section.record.matrix.tolist()],
                "metrics": [
                    None if metric.value is None else round(100 * metric.value, 3) for metric in section.metrics
                ],
            }
            for section in group.sections
        ],
    }


def _cells(row: Sequence[float]) -> list[float | None]:
    """Return a row in percent; null for NaN, and nothing for those at its end."""
    cells = [None if np.isnan(cell) else round(100 * cell, 3) for cell in row]
    while cells and cells[-1] is None:
        cells.pop()
    return cells


def _hash(text: str) -> str:
    """Return the hash of an inline script or style sheet as a content security policy writes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _text(folder: Path, name: str, longest: int) -> str:
    """Return a text file of the run folder, or a note that it cannot be shown."""
    if Path(name).name != name:  # a record that was made elsewhere must not put other files of this machine on a page
        return f"({name} is not a file name; nothing outside the run folder is shown)"
    try:
        text = (folder / name).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return f"({name} is not in the run folder)"
    return text if len(text) <= longest else text[:longest] + f"\n… ({len(text):,} characters in all)"


def _seconds(value: float) -> str:
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _size(value: int | None) -> str:
    if value is None:
        return "–"
    for unit, divisor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= divisor:
            return f"{value / divisor:.1f} {unit}"
    return f"{value} B"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _unit(metric: str) -> str:
    return "%" if "accuracy" in metric else "points"
