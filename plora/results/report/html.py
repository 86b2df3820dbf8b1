"""One self-contained report of one run or of several: no network, light and dark, printable.

The page is complete without scripts: tables, and pictures drawn here. Where scripts run, `report.js` draws charts
from the numbers that stand in the page as JSON, and they take the place of the pictures that show the same. A content
security policy allows that one script and that one style sheet by their hashes, and nothing else.
"""

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from plora.atomic import JsonValue, write_text
from plora.errors import RunError
from plora.regular import inside, read_file
from plora.results.comparison.comparable import group_runs, labels_of, series
from plora.results.comparison.doubts import group_doubts, prediction_doubts, run_doubts, undecided_doubts
from plora.results.comparison.paired_examples import against_best
from plora.results.comparison.statistics import Estimate, compare, estimates, seen_intervals
from plora.results.metrics.chance import Chance
from plora.results.metrics.further import further_metrics
from plora.results.metrics.learning_speed import learning_speeds
from plora.results.metrics.run_cost import run_cost
from plora.results.metrics.run_metrics import RunMetrics
from plora.results.pictures.figure import to_svg
from plora.results.pictures.gallery import group_pictures, run_pictures
from plora.results.pictures.overlay import class_colours
from plora.results.pictures.scale import colour_limits
from plora.results.record.curves import read_curves
from plora.results.record.found_runs import FoundRuns, curves_file, find_runs, root_hash
from plora.results.record.generated import ClassOfTexts, by_class, generated_files, read_generated
from plora.results.record.identity import CONFIG_FILE
from plora.results.record.matrix_metrics import MatrixMetric, Metric, matrix_metrics
from plora.results.record.run_record import RunRecord
from plora.results.record.score import ACCURACY, Better, Score
from plora.results.record.sheet import CONFUSIONS, SheetRow, read_sheet, sheet_files
from plora.results.record.thinning import spread_over
from plora.results.tables.cost_table import kept_bytes, passes_of, told_passes
from plora.results.tables.folding import shown
from plora.results.tables.iou_table import table_of_ious
from plora.results.tables.numbers import mean_and_std, percent, size
from plora.results.tables.one_line import elide
from plora.results.tables.slot_table import table_of_slots
from plora.results.tables.table import Table
from plora.results.tables.tables import chance_and_size, comparison_notes, interval_notes, table_of_differences
from plora.shown import shell_word, visible, visible_lines

LONGEST_FILE = 20_000  # characters of a config or environment that are shown
ALL_FILES = 1_500_000  # characters of all of them together
PICTURED_RUNS = 12  # of more runs, each has its table, and its pictures in a report of its own
ALL_PICTURES = 2_500_000  # characters of the pictures of single runs
ALL_NUMBERS = 1_500_000  # characters of the numbers for the charts
INTERACTIVE = ("matrix", "tasks", "methods")  # pictures that the charts supersede where scripts run
ALL_PAIRS_UP_TO = 10  # methods: of more, each is compared with the best alone
OPEN_PAIRS = 6  # comparisons: more are folded
OPEN_RUNS = 12  # of a group: more are folded, each in a row and a fold of its own
GENERATED_SAMPLES = 2  # texts of each class
LONGEST_SAMPLE = 240  # characters of one
SHEETS = 5  # of images, of the tasks of a run; of more tasks that many, evenly spread
TABLE_UP_TO = 20  # tasks: the accuracy matrix stands as a table too
CHARTS_UP_TO = 100  # tasks: a browser would draw a shape for each cell, and the pictures have a pixel for it
ROWS_AT_ENDS = 10  # of the tables with a row per task, where they are folded


@dataclass(frozen=True)
class Examples:
    """A sheet of images.

    Args:
        task: after which it was made; empty of the worst confusions.
        source: the PNG itself.
        rows: what stands in it, from the top.
    """

    task: str
    source: Markup
    rows: Sequence[SheetRow]

    @property
    def classes(self) -> dict[int, str]:
        """Number and name of each class that maps show, in the order of their numbers."""
        return dict(sorted({number: name for row in self.rows for number, name in row.classes}.items()))


@dataclass(frozen=True)
class RunSection:
    """What the page shows of one run.

    Args:
        title, label, anchor, folder, record: of the run; the label is that of its series.
        metrics, further: of its matrix, and those that need more.
        chance: of its test examples, where it has its predictions.
        sizes: what chance is, and how far the number of test examples lets ACC be known, one line each.
        doubts: one line each.
        replaced: pictures that the charts of `report.js` take the place of.
        pictures: all others.
        generated: texts that stood in for old ones while the last task was learned, by class.
        examples: sheets of images of some tasks, and of the worst confusions.
        ious: of each class, where pixels have classes.
        slots: after each task, where the gate says something of them.
        steps_to_90: of each task whose learning speed was measured.
        config, environment: the text of its files.
        root: hash of the whole run; empty where it has none.
        commands: what to do again, and the command.
    """

    title: str
    label: str
    anchor: str
    folder: str
    record: RunRecord
    metrics: Sequence[Metric]
    further: Sequence[Metric]
    chance: Chance | None
    sizes: Sequence[str]
    doubts: Sequence[str]
    replaced: Sequence[Markup]
    pictures: Sequence[Markup]
    generated: Sequence[ClassOfTexts]
    examples: Sequence[Examples]
    ious: Table | None
    slots: Table | None
    steps_to_90: Mapping[str, int]
    config: str
    environment: str
    root: str
    commands: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class GroupSection:
    """What the page shows of runs that may be compared.

    Args:
        anchor: of the group in the page.
        score: what a cell of their matrices is.
        definitions: of the metrics of such a matrix.
        stream, scenario, fingerprint: what they have in common.
        sections: the runs, one each.
        compared: those that are complete, each seed of a method once.
        methods: the estimates of those by label and metric.
        predicting: bytes kept and forward passes per prediction by label; empty where no run says either.
        differences: paired tests between the methods; None where there is one method alone.
        best: the method that all others are compared with, where all pairs would be too many.
        chance: of their test examples, where a run has its predictions.
        notes: below the table of methods, one line each.
        doubts: of the comparison.
        replaced, pictures: of the comparison, those that the charts supersede and all others; none where there is
            nothing to compare.
    """

    anchor: str
    score: Score
    definitions: Sequence[MatrixMetric]
    stream: str
    scenario: str
    fingerprint: str
    sections: Sequence[RunSection]
    compared: Sequence[RunSection]
    methods: Mapping[str, Mapping[str, Estimate]]
    predicting: Mapping[str, tuple[str, str]]
    differences: Table | None
    best: str | None
    chance: Chance | None
    notes: Sequence[str]
    doubts: Sequence[str]
    replaced: Sequence[Markup]
    pictures: Sequence[Markup]

    @property
    def has_intervals(self) -> bool:
        """Whether any estimate has an interval."""
        return any(estimate.interval for of_metric in self.methods.values() for estimate in of_metric.values())


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
    metric_of = RunMetrics(found.runs)
    for records in group_runs(found.runs.values()):
        sections = []
        for record in records:
            number += 1
            section = _run_section(folders[id(record)], record, metric_of, f"run-{number}", pictured, longest)
            sources = [sheet.source for sheet in section.examples]
            room -= sum(map(len, [*section.replaced, *section.pictures, *sources]))
            if room < 0:
                section = replace(section, replaced=(), pictures=(), examples=())
            sections.append(section)
        groups.append(_group_section(sections, f"group-{len(groups) + 1}", metric_of))
    lines = [*found.left_out, *found.unfinished]
    if number == 1:  # its section says itself that it is unfinished
        lines = [line for line in lines if not line.startswith(f"{next(iter(found.runs))}: unfinished")]
    write_text(out, render(groups, lines))
    return found


def render(groups: Sequence[GroupSection], left_out: Sequence[str]) -> str:
    """Return the page; every text that is not Markup is escaped, and everything in it can be seen."""
    environment = Environment(
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=percent, told=_told, mean_and_std=mean_and_std)
    environment.filters.update(seconds=_seconds, size=size, count=_count, rate=_rate, flop=_flop, joule=_joule)
    environment.filters["run_cost"] = run_cost
    environment.filters["ends"] = _ends
    environment.filters["class_colour"] = lambda number: f"#{class_colours()[number].tobytes().hex()}"
    room = files("plora.results.report")
    style, script = (room.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    page: str = environment.from_string(room.joinpath("report.html.j2").read_text(encoding="utf-8")).render(
        groups=groups,
        definitions=list({text.text: text for group in groups for text in group.definitions}.values()),
        left_out=left_out,
        single=sum(len(group.sections) for group in groups) == 1,
        table_up_to=TABLE_UP_TO,
        charts_up_to=CHARTS_UP_TO,
        open_pairs=OPEN_PAIRS,
        open_runs=OPEN_RUNS,
        style=Markup(style),
        script=Markup(script),
        style_hash=Markup(content_hash(style)),
        script_hash=Markup(content_hash(script)),
        numbers=_numbers(groups),
    )
    return page


def _run_section(
    folder: Path, record: RunRecord, metric_of: RunMetrics, anchor: str, pictured: bool, longest: int
) -> RunSection:
    doubts = run_doubts(record)
    if (measured := metric_of.predictions(record)) is not None and record.score == ACCURACY:
        doubts += prediction_doubts(measured)
    figures, left_out = run_pictures(folder, record) if pictured else ({}, [])
    doubts += left_out
    examples, damaged = _examples(folder, record) if pictured else ([], [])
    doubts += damaged
    drawn = {name: Markup(to_svg(figure, f"{anchor}-{name}")) for name, figure in figures.items()}
    replaced = [picture for name, picture in drawn.items() if name in INTERACTIVE]
    pictures = [picture for name, picture in drawn.items() if name not in INTERACTIVE]
    name = os.fsencode(folder).decode("utf-8", "replace")  # a folder's name need not be text
    return RunSection(
        title="",  # until it is known which runs stand beside it
        label="",
        anchor=anchor,
        folder=name,
        record=record,
        metrics=[metric_of(record, definition.name) for definition in matrix_metrics(record.score)],
        further=[
            metric
            for definition in further_metrics(record.score)
            if (metric := metric_of(record, definition.name)).value is not None or record.score == ACCURACY
        ],
        chance=metric_of.chance([record]),
        sizes=chance_and_size([[record]], metric_of),
        doubts=doubts,
        replaced=replaced,
        pictures=pictures,
        generated=_generated(folder),
        examples=examples,
        ious=None if (pixels := metric_of.pixels(record)) is None else table_of_ious(pixels, record.tasks),
        slots=_slots(record),
        steps_to_90=_steps_to_90(folder, metric_of(record, "learning_speed"), record.score.better),
        config=_text(folder, CONFIG_FILE, longest),
        environment=_text(folder, record.environment, longest),
        root=_root(folder, record),
        commands=_commands(name, record.complete),
    )


def _examples(folder: Path, record: RunRecord) -> tuple[list[Examples], list[str]]:
    """Return some sheets of images, and a line for each that is damaged."""
    found, lines = list[Examples](), list[str]()
    try:
        files = sheet_files(folder)
    except RunError as error:  # a link in the place of the folder
        return found, [f"Example images left out: {error}"]
    of_tasks = [file for file in files if file.name != CONFUSIONS]
    chosen = [of_tasks[at] for at in spread_over(len(of_tasks), SHEETS)]
    for file in [*chosen, *(file for file in files if file.name == CONFUSIONS)]:
        try:
            sheet = read_sheet(file)
        except RunError as error:
            lines.append(f"Example images left out: {error}")
            continue
        number = int(re.sub(r"\D", "", file.stem) or 0)
        about = record.tasks[number - 1] if 0 < number <= len(record.tasks) else ""
        source = Markup("data:image/png;base64,") + Markup(base64.b64encode(sheet.png).decode())
        found.append(Examples(about, source, sheet.rows))
    return found, lines


def _slots(record: RunRecord) -> Table | None:
    told = any(state is not None and (state.reason or state.vectors) for state in record.slot_states)
    return table_of_slots(record) if told else None


def _generated(folder: Path) -> list[ClassOfTexts]:
    """Return what was written before the last task; nothing where the file is damaged, which a doubt names."""
    if not (files := generated_files(folder)):
        return []
    try:
        found = by_class(read_generated(files[-1]), GENERATED_SAMPLES)
    except RunError:
        return []
    return [replace(row, samples=tuple(elide(text, LONGEST_SAMPLE) for text in row.samples)) for row in found]


def _steps_to_90(folder: Path, speed: Metric, better: Better) -> Mapping[str, int]:
    if speed.value is None or (curves := curves_file(folder)) is None:
        return {}
    return {found.task: found.steps for found in learning_speeds(read_curves(curves), better)}


def _commands(folder: str, complete: bool) -> list[tuple[str, str]]:
    """Return what can be done again with a run, and the command."""
    run = shell_word(folder)
    again = f"plora run {shell_word(f'{folder}/{CONFIG_FILE}')} output=runs-again"
    commands = [
        ("repeat it, in another folder", again),
        ("check its files, and predict again", f"plora verify {run}"),
        ("score its last state again", f"plora evaluate {run}"),
        ("write a report of it alone", f"plora report {run}"),
        ("print every metric, F1 of each class too", f"plora metrics {run}"),
    ]
    return commands if complete else [("go on where it stopped", f"plora resume {run}"), *commands]


def _group_section(sections: Sequence[RunSection], salt: str, metric_of: RunMetrics) -> GroupSection:
    sections = [
        replace(section, label=label, title=_title(section.record, label))
        for section, label in zip(sections, labels_of([section.record for section in sections]), strict=True)
    ]
    compared, twice = _each_once([section for section in sections if section.record.complete])
    records = [section.record for section in compared]
    chance = metric_of.chance(records) if records else None
    figures = group_pictures(records, chance)
    drawn = {name: Markup(to_svg(figure, f"{salt}-{name}")) for name, figure in figures.items()}
    first = sections[0].record
    methods = estimates(records) if records else {}
    best = _best(methods, first.score) if len(methods) > ALL_PAIRS_UP_TO else None
    several = len(methods) > 1 and first.score == ACCURACY
    undecided = undecided_doubts(against_best(records, _best(methods, first.score), metric_of)) if several else []
    differences = table_of_differences(compare(records, against=best), first.score) if len(methods) > 1 else None
    return GroupSection(
        anchor=salt,
        score=first.score,
        definitions=matrix_metrics(first.score),
        stream=first.stream.name,
        scenario=first.scenario,
        fingerprint=first.stream.fingerprint,
        sections=sections,
        compared=compared,
        methods=methods,
        predicting=_predicting(series(records)),
        differences=differences,
        best=best,
        chance=chance,
        notes=[
            *chance_and_size([*series(records).values()], metric_of),
            *comparison_notes(records, methods),
            *interval_notes(methods),
        ]
        if records
        else [],
        doubts=[*group_doubts(records), *undecided, *twice],
        replaced=[picture for name, picture in drawn.items() if name in INTERACTIVE],
        pictures=[picture for name, picture in drawn.items() if name not in INTERACTIVE],
    )


def _predicting(runs_of: Mapping[str, Sequence[RunRecord]]) -> dict[str, tuple[str, str]]:
    found = {label: (kept_bytes(runs), passes_of(runs)) for label, runs in runs_of.items()}
    if all(told == (None, None) for told in found.values()):
        return {}
    return {label: (size(kept), told_passes(passes)) for label, (kept, passes) in found.items()}


def _title(record: RunRecord, label: str) -> str:
    return f"{record.name} / {label.replace(f' ({record.name})', '', 1)} / seed {record.seed}"


def _each_once(sections: Sequence[RunSection]) -> tuple[list[RunSection], list[str]]:
    """Return the sections without copies of a run, and a line for each copy."""
    kept: dict[tuple[str, int], RunSection] = {}
    lines = []
    for section in sections:
        label, seed = section.label, section.record.seed
        first = kept.setdefault((label, seed), section)
        if first is not section:
            lines.append(
                f"{section.folder} is a second run of '{label}' with seed {seed}, like {first.folder}, and is left out "
                "of the comparison."
            )
    return list(kept.values()), lines


def _best(methods: Mapping[str, Mapping[str, Estimate]], score: Score) -> str:
    """Return the method with the best mean ACC; every complete run has one."""
    return max(methods, key=lambda label: score.sign * (methods[label]["accuracy"].mean or 0.0))


def _visible(value: object) -> object:
    """What an expression of the template gives, as it is shown; files have line breaks of their own."""
    return visible_lines(value) if type(value) is str else value  # Markup is a str too


def _numbers(groups: Sequence[GroupSection]) -> Markup:
    """Return the numbers of the charts as JSON for a script element; empty where they are too many for a page.

    No "<", ">" or "&" is in it, so nothing that it says can end the element or begin a comment in it.
    """
    drawn = [group for group in groups if len(group.sections[0].record.tasks) <= CHARTS_UP_TO]
    if not drawn:
        return Markup("")
    content: JsonValue = {"groups": [_group_numbers(group) for group in drawn]}
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    if len(text) > ALL_NUMBERS:
        return Markup("")
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _group_numbers(group: GroupSection) -> JsonValue:
    compared = {id(section.record) for section in group.compared}
    labels = series(section.record for section in group.sections)
    label_of = {id(run): number for number, runs in enumerate(labels.values()) for run in runs}
    # A run that is unfinished, or a copy, can make labels longer than those of the runs that are compared.
    records = [section.record for section in group.compared]
    method_of = {id(run): label for run, label in zip(records, labels_of(records), strict=True)}
    methods = [next((method_of[id(run)] for run in runs if id(run) in method_of), None) for runs in labels.values()]
    return {
        "id": group.anchor,
        "score": _score_numbers(group),
        "metrics": [
            {"symbol": metric.symbol, "title": metric.title, "text": metric.text, "unit": metric.score.unit}
            for metric in group.definitions
        ],
        "tasks": [visible(task) for task in group.sections[0].record.tasks],
        "split": group.sections[0].record.split,
        "chance": [] if group.chance is None else _cells(group.score, group.chance.seen.tolist()),
        "series": [visible(label) for label in labels],
        "bands": [_band(group.score, [run for run in runs if id(run) in compared]) for runs in labels.values()],
        "intervals": [
            [] if method is None else [_interval(estimate) for estimate in group.methods[method].values()]
            for method in methods
        ],
        "runs": [
            {
                "id": section.anchor,
                "name": visible(section.record.name),
                "series": label_of[id(section.record)],
                "seed": section.record.seed,
                "chance": None if section.chance is None else _shown(section.record.score, section.chance.mean),
                "complete": id(section.record) in compared,
                "matrix": [_cells(group.score, row) for row in section.record.matrix.tolist()],
                "metrics": [
                    None if metric.value is None else _shown(metric.score, metric.value) for metric in section.metrics
                ],
            }
            for section in group.sections
        ],
    }


def _score_numbers(group: GroupSection) -> JsonValue:
    """Return what charts must know of a score: words, decimals, and values at the ends of the colours."""
    score = group.score
    cells = np.concatenate([section.record.matrix.ravel() for section in group.sections])
    return {
        "label": score.label,
        "title": score.title,
        "unit": score.unit,
        "differences": score.of_differences,
        "percent": score.percent,
        "lower": score.better == "lower",
        "decimals": len(score.text(0.0).partition(".")[2]),
        "limits": [score.factor * end for end in colour_limits(cells, score)],
    }


def _band(score: Score, runs: Sequence[RunRecord]) -> JsonValue:
    """Return the interval of A_t after each task as it is shown, null where there is none; null below three seeds."""
    band = seen_intervals(runs)
    return None if band is None else [_cells(score, bounds) or None for bounds in band.tolist()]


def _interval(estimate: Estimate) -> JsonValue:
    """Return the interval of one metric as it is shown, or the reason why there is none."""
    return visible(estimate.reason or "") if estimate.interval is None else _cells(estimate.score, estimate.interval)


def _cells(score: Score, row: Sequence[float]) -> list[float | None]:
    """Return a row as it is shown, a fraction in percent; null for NaN, and nothing for those at its end."""
    cells = [None if np.isnan(cell) else _shown(score, cell) for cell in row]
    while cells and cells[-1] is None:
        cells.pop()
    return cells


def _shown(score: Score, value: float) -> float:
    """Return a number for the charts, without digits that nobody sees."""
    return round(score.factor * value, 3 if score.percent else 6)


def _ends(rows: Sequence[object]) -> list[tuple[int, object]]:
    """Return the rows that a table with a row per task shows, and before each how many were left out there."""
    kept = shown(len(rows), ROWS_AT_ENDS)
    return [(at - before - 1, rows[at]) for before, at in zip([-1, *kept], kept, strict=False)]


def _told(value: float | None, score: Score) -> str:
    return score.text(value)


def content_hash(text: str) -> str:
    """Return the hash of an inline script or style sheet as a content security policy writes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _text(folder: Path, name: str, longest: int) -> str:
    """Return a text file of the run folder, or a note that it cannot be shown."""
    if Path(name).name != name:  # a record that was made elsewhere must not put other files of this machine on a page
        return f"({name} is not a file name; nothing outside the run folder is shown)"
    try:
        text = read_file(inside(folder, name)).decode("utf-8", "replace")
    except RunError as error:  # a link, which may lead anywhere
        return f"({error})"
    except (OSError, ValueError):
        return f"({name} is not in the run folder)"
    return text if len(text) <= longest else text[:longest] + f"\n… ({len(text):,} characters in all)"


def _root(folder: Path, record: RunRecord) -> str:
    try:
        return root_hash(folder) if record.run else ""
    except RunError:  # said by what reads the file
        return ""


def _seconds(value: float) -> str:
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}/s"


def _flop(value: float | None) -> str:
    return _prefixed(value, "FLOP")


def _joule(value: float | None) -> str:
    return _prefixed(value, "J")


def _prefixed(value: float | None, what: str) -> str:
    if value is None:
        return "–"
    for prefix, divisor in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= divisor:
            return f"{value / divisor:.3g} {prefix}{what}"
    return f"{value:.3g} {what}"
