"""One self-contained report of one run or of several: no network, no script, light and dark, printable."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from plora.atomic import write_text
from plora.errors import RunError
from plora.results.doubts import group_doubts, run_doubts
from plora.results.figure import to_svg
from plora.results.gallery import group_pictures, run_pictures
from plora.results.metrics import METRICS, Metric
from plora.results.record import RunRecord
from plora.results.runs import CONFIG_FILE, FoundRuns, find_runs, group_runs
from plora.results.tables import gaps, percent

LONGEST_FILE = 20_000  # characters of a config or environment that are shown


@dataclass(frozen=True)
class RunSection:
    """What the page shows of one run."""

    title: str
    anchor: str
    folder: str
    record: RunRecord
    metrics: Sequence[Metric]
    doubts: Sequence[str]
    pictures: Sequence[Markup]
    config: str
    environment: str


@dataclass(frozen=True)
class GroupSection:
    """What the page shows of runs that may be compared.

    Args:
        stream, scenario, fingerprint: what they have in common.
        sections: the runs, one each.
        compared: those that are complete.
        doubts: of the comparison.
        pictures: of the comparison; none where there is nothing to compare.
        reasons: why cells of the table are "n/a", one line each.
    """

    stream: str
    scenario: str
    fingerprint: str
    sections: Sequence[RunSection]
    compared: Sequence[RunSection]
    doubts: Sequence[str]
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
    for records in group_runs(found.runs.values()):
        sections = []
        for record in records:
            number += 1
            sections.append(_run_section(folders[id(record)], record, f"run-{number}"))
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
    environment.filters.update(percent=percent, seconds=_seconds, size=_size, count=_count)
    template = files("plora.results").joinpath("report.html.j2").read_text(encoding="utf-8")
    page: str = environment.from_string(template).render(
        groups=groups,
        definitions=METRICS,
        left_out=left_out,
        single=sum(len(group.sections) for group in groups) == 1,
    )
    return page


def _run_section(folder: Path, record: RunRecord, anchor: str) -> RunSection:
    doubts = run_doubts(record)
    figures, left_out = run_pictures(folder, record)
    doubts += left_out
    pictures = [Markup(to_svg(figure, f"{anchor}-{name}")) for name, figure in figures.items()]
    return RunSection(
        title=f"{record.name} / {record.method} / seed {record.seed}",
        anchor=anchor,
        folder=os.fsencode(folder).decode("utf-8", "replace"),  # a folder's name need not be text
        record=record,
        metrics=list(record.metrics.values()),
        doubts=doubts,
        pictures=pictures,
        config=_text(folder, CONFIG_FILE),
        environment=_text(folder, record.environment),
    )


def _group_section(sections: Sequence[RunSection], salt: str) -> GroupSection:
    compared = [section for section in sections if section.record.complete]
    records = [section.record for section in compared]
    figures = group_pictures(records)
    first = sections[0].record
    return GroupSection(
        stream=first.stream.name,
        scenario=first.scenario,
        fingerprint=first.stream.fingerprint,
        sections=sections,
        compared=compared,
        doubts=group_doubts(records),
        pictures=[Markup(to_svg(figure, f"{salt}-{name}")) for name, figure in figures.items()],
        reasons=gaps(records),
    )


def _text(folder: Path, name: str) -> str:
    """Return a text file of the run folder, or a note that it cannot be shown."""
    if Path(name).name != name:  # a record that was made elsewhere must not put other files of this machine on a page
        return f"({name} is not a file name; nothing outside the run folder is shown)"
    try:
        text = (folder / name).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return f"({name} is not in the run folder)"
    return text if len(text) <= LONGEST_FILE else text[:LONGEST_FILE] + f"\n… ({len(text):,} characters in all)"


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
