"""Tables of runs and methods, as Markdown for the terminal, as CSV for programs, and as LaTeX for papers.

In Markdown and LaTeX accuracies are percentages with one decimal; CSV has fractions with twelve digits. A cell that
was not measured is "–" (CSV: `NaN`), a number that cannot be given is "n/a", and the reason stands below the table
(CSV: in the last column).
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from rich.cells import cell_len

from plora.errors import RunError
from plora.results.doubts import SEEDS_FOR_A_CLAIM
from plora.results.figure import shorten
from plora.results.metrics import METRICS, seen_accuracy
from plora.results.record import RunRecord
from plora.results.runs import FoundRuns, find_runs, require_comparable
from plora.results.statistics import Comparison, Estimate, compare, estimates, metric_names

NOT_MEASURED = "–"
NOT_APPLICABLE = "n/a"
NAMES_UP_TO = 8  # tasks: with more, columns have numbers and a legend follows

Format = Literal["markdown", "csv", "latex"]
Kind = Literal["methods", "differences", "runs", "matrix"]
Best = Literal["highest", "lowest"]

BEST: Mapping[str, Best] = {
    "accuracy": "highest",
    "average_incremental_accuracy": "highest",
    "backward_transfer": "highest",
    "forgetting": "lowest",
    "learning_accuracy": "highest",
    "forward_transfer": "highest",
}
"""Which end of each metric is best; one that is not listed has no best."""

_SYMBOLS = {definition.name: definition.symbol for definition in METRICS}


@dataclass(frozen=True)
class _Table:
    """One table before it has a format.

    Args:
        caption: what the cells are; LaTeX alone.
        heads: of the columns; the first is to the left, the others to the right.
        rows: cells as people read them.
        data_heads, data: the same for programs, under names that do not change.
        notes: lines below the table.
        best: by column, which end is best; the cells of such a column are compared as they are printed.
        legend: what numbered columns are; lines too, but one paragraph in LaTeX, where a page ends.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    data_heads: Sequence[str]
    data: Sequence[Sequence[object]]
    notes: Sequence[str] = ()
    best: Mapping[int, Best] | None = None
    legend: Sequence[str] = ()


def percent(value: float | None) -> str:
    """Return a fraction as "73.3", never "-0.0"; "n/a" for None, "–" for NaN."""
    if value is None:
        return NOT_APPLICABLE
    if np.isnan(value):
        return NOT_MEASURED
    return f"{round(100 * value, 1) + 0.0:.1f}"


def matrix_table(record: RunRecord, format: Format = "markdown", standalone: bool = False) -> str:
    """Return the accuracy matrix: a row per state, a column per task, and the mean over tasks seen.

    Row "before training" is left out when it was not measured; CSV has it always.

    Args:
        record: one run, which may be unfinished.
        format: `markdown`, `csv` or `latex`.
        standalone: LaTeX as a whole document.
    """
    return _rendered(_matrix(record), format, standalone)


def summary_table(records: Sequence[RunRecord], format: Format = "markdown", standalone: bool = False) -> str:
    """Return a row per run with every metric, and below the table the reason of each "n/a".

    Args:
        records: runs on one stream in one order.
        format: `markdown`, `csv` or `latex` (which marks best and second, see `comparison_table`).
        standalone: LaTeX as a whole document.

    Raises:
        RunError: the runs must not be compared; names the difference.
    """
    return _rendered(_summary(records), format, standalone)


def comparison_table(
    records: Sequence[RunRecord],
    metrics: Sequence[str] | None = None,
    format: Format = "markdown",
    standalone: bool = False,
) -> str:
    """Return a row per method: mean ± standard deviation of each metric over its seeds and orders.

    In LaTeX (booktabs) the best mean of each column is bold and the second is underlined; means that print alike are
    marked alike. Marks say which number is larger, not that the difference means something: see `differences_table`.

    Args:
        records: complete runs on the same data, in one or several orders.
        metrics: names or symbols; by default all.
        format: `markdown`, `csv` or `latex`; CSV has the bootstrap interval too.
        standalone: LaTeX as a whole document that pdflatex compiles.

    Raises:
        RunError: the runs must not be pooled (names the difference), one is unfinished, or a metric is unknown.
    """
    return _rendered(_comparison(records, metrics), format, standalone)


def differences_table(
    records: Sequence[RunRecord],
    metrics: Sequence[str] | None = None,
    format: Format = "markdown",
    standalone: bool = False,
    against: str | None = None,
) -> str:
    """Return a row per pair of methods: difference, effect size and corrected p-values, see `compare`.

    Args:
        records: complete runs on the same data, in one or several orders.
        metrics: names or symbols; by default ACC alone, since every further one makes all p-values larger.
        format: `markdown`, `csv` or `latex`; CSV has the uncorrected p-values and the interval too.
        standalone: LaTeX as a whole document that pdflatex compiles.
        against: a method to compare all others with; by default every method with every other.

    Raises:
        RunError: the runs must not be pooled (names the difference), one is unfinished, or a name is unknown.
    """
    return _rendered(_differences(compare(records, metrics or ("accuracy",), against)), format, standalone)


def write_table(
    paths: Iterable[Path],
    kind: str = "methods",
    metrics: Sequence[str] | None = None,
    format: str = "markdown",
    standalone: bool = False,
    against: str | None = None,
) -> tuple[str, FoundRuns]:
    """Return one table about the runs that are meant by some paths, and what was found, unfinished or left out.

    Args:
        paths: run folders, or parents of some.
        kind: `methods` (`comparison_table`), `differences` (`differences_table`), `runs` (`summary_table`) or `matrix`
            (`matrix_table`, of one run). Unfinished runs are left out of all but the last.
        metrics, format, standalone, against: see these functions.

    Raises:
        RunError: no run can stand in the table, runs differ in what must be equal, or an argument is none.
    """
    for name, value, known in (("kind", kind, get_args(Kind)), ("format", format, get_args(Format))):
        if value not in known:
            raise RunError(f"unknown {name} of table '{value}'; expected one of {', '.join(known)}")
    if standalone and format != "latex":
        raise RunError(f"standalone is a whole LaTeX document, got format '{format}'; set the format to latex")
    if against is not None and kind != "differences":
        raise RunError(
            f"against='{against}' is for the table of differences, got kind '{kind}'; set the kind to differences"
        )
    if metrics and kind in ("runs", "matrix"):
        raise RunError(f"a table of kind '{kind}' has no choice of metrics; leave them out, or set another kind")
    found = find_runs(paths)
    records = [record for record in found.runs.values() if record.complete or kind == "matrix"]
    if not records:
        raise RunError("no run can stand in a table: " + "; ".join([*found.left_out, *found.unfinished]))
    if kind == "matrix" and len(records) > 1:
        raise RunError(f"a matrix is that of one run, got {len(records)} runs; name one")
    if kind == "matrix":
        table = _matrix(records[0])
    elif kind == "runs":
        table = _summary(records)
    elif kind == "differences":
        table = _differences(compare(records, metrics or ("accuracy",), against))
    else:
        table = _comparison(records, metrics)
    return _rendered(table, cast(Format, format), standalone), found


def _matrix(record: RunRecord) -> _Table:
    T = len(record.tasks)
    named = T <= NAMES_UP_TO
    heads = [shorten(task, 16) if named else str(j) for j, task in enumerate(record.tasks, start=1)]
    rows = []
    if not np.isnan(record.matrix[0]).all():
        rows.append(["before training", *map(percent, record.matrix[0]), ""])
    seen = seen_accuracy(record.matrix)
    for head, row, mean in zip(heads, record.matrix[1:], seen, strict=True):
        rows.append([f"after {head}", *map(percent, row), percent(mean)])
    states = ["before training", *(f"after {task}" for task in record.tasks)]
    data = [[state, *row, mean] for state, row, mean in zip(states, record.matrix, [np.nan, *seen], strict=True)]
    legend = [] if named else [f"{j}: {' '.join(task.split())}" for j, task in enumerate(record.tasks, start=1)]
    return _Table(
        f"Accuracy (%) on each task after each task: {record.method}, seed {record.seed}.",
        ["accuracy %", *heads, "mean seen"],
        rows,
        ["accuracy", *record.tasks, "mean seen"],
        data,
        legend=legend,
    )


def _summary(records: Sequence[RunRecord]) -> _Table:
    require_comparable(records)
    named = len({record.name for record in records}) > 1
    rows, data = [], []
    for record in records:
        metrics = record.metrics.values()
        parameters = max((cost.trainable_parameters for cost in record.cost), default=0)
        seconds = sum(cost.seconds for cost in record.cost)
        label = f"{record.method} ({record.name})" if named else record.method
        cells = [percent(metric.value) for metric in metrics]
        rows.append([label, str(record.seed), *cells, f"{parameters:,}", f"{seconds:.0f}"])
        numbers = [metric.value for metric in metrics]
        reasons = _joined(f"{metric.symbol}: {metric.reason}" for metric in metrics if metric.reason is not None)
        data.append([record.method, record.name, record.seed, *numbers, parameters, seconds, reasons])
    symbols = [metric.symbol for metric in METRICS]
    names = [metric.name for metric in METRICS]
    return _Table(
        "Metrics (%) of each run. Best in bold, second underlined.",
        ["method", "seed", *symbols, "trainable", "seconds"],
        rows,
        ["method", "name", "seed", *names, "trainable_parameters", "seconds", "reasons"],
        data,
        gaps(records),
        {column: BEST[name] for column, name in enumerate(names, start=2) if name in BEST},
    )


def _comparison(records: Sequence[RunRecord], metrics: Sequence[str] | None) -> _Table:
    names = metric_names(metrics)
    found = estimates(records, names)
    first_of = {label: next(iter(of_metric.values())) for label, of_metric in found.items()}
    several_orders = len({record.tasks for record in records}) > 1
    rows, data = [], []
    for label, of_metric in found.items():
        first = first_of[label]
        runs = [str(first.seeds), *([str(first.orders), str(len(first.keys))] if several_orders else [])]
        rows.append([label, *runs, *(_mean_and_std(of_metric[name]) for name in names)])
        row: list[object] = [label, len(first.keys), first.seeds, first.orders]
        for name in names:
            estimate = of_metric[name]
            row += [estimate.mean, estimate.std, *(estimate.interval or (None, None))]
        reasons = _joined(f"{_SYMBOLS[name]}: {reason}" for name in names if (reason := of_metric[name].reason))
        data.append([*row, reasons])
    counts = ["seeds", "orders", "runs"] if several_orders else ["seeds"]
    over = "seeds and orders of the tasks" if several_orders else "seeds"
    return _Table(
        f"Mean and standard deviation (%) over {over}. Best mean in bold, second underlined.",
        ["method", *counts, *(_SYMBOLS[name] for name in names)],
        rows,
        [
            *("method", "runs", "seeds", "orders"),
            *(f"{name}_{what}" for name in names for what in ("mean", "std", "low", "high")),
            "reasons",
        ],
        data,
        _notes(records, found, first_of),
        {column: BEST[name] for column, name in enumerate(names, start=1 + len(counts)) if name in BEST},
    )


def _notes(
    records: Sequence[RunRecord], found: Mapping[str, Mapping[str, Estimate]], first_of: Mapping[str, Estimate]
) -> list[str]:
    """Return below a comparison: why cells are empty, few seeds, unequal seeds, and which order is which."""
    places: dict[str, dict[str, list[str]]] = {}
    for label, of_metric in found.items():
        for name, estimate in of_metric.items():
            if estimate.mean is None and estimate.reason is not None:
                places.setdefault(estimate.reason, {}).setdefault(_SYMBOLS[name], []).append(label)
    notes = _gap_lines(places, len(found))
    few = [label for label, estimate in first_of.items() if estimate.seeds < SEEDS_FOR_A_CLAIM]
    if few:
        whose = "" if len(few) == len(found) else f" ({', '.join(few)})"
        notes.append(f"fewer than {SEEDS_FOR_A_CLAIM} seeds{whose}: no claim can be made about differences")
    if len({frozenset(estimate.keys) for estimate in first_of.values()}) > 1:
        several = len({record.tasks for record in records}) > 1
        what = "seeds and orders" if several else "seeds"
        notes.append(f"the methods do not have the same {what}; paired tests use those in common")
    orders = list(dict.fromkeys(record.tasks for record in records))
    if len(orders) > 1:
        for number, order in enumerate(orders, start=1):
            names = list(dict.fromkeys(record.name for record in records if record.tasks == order))
            notes.append(f"order {number} ({', '.join(names)}): {', '.join(order)}")
    return notes


def _differences(comparisons: Sequence[Comparison]) -> _Table:
    if not comparisons:
        raise RunError("one method alone is compared with nothing; name runs of at least two")
    rows, data = [], []
    reasons: dict[str, list[str]] = {}
    for found in comparisons:
        symbol = _SYMBOLS[found.metric]
        pair = f"{found.first} − {found.second}"
        difference = NOT_APPLICABLE if found.mean is None else _plus_minus(found.mean, found.std)
        d_z = NOT_APPLICABLE if found.effect_size is None else f"{round(found.effect_size, 2) + 0.0:.2f}"
        p_values = [_p(found.p_t_holm), _p(found.p_wilcoxon_holm)]
        rows.append([pair, symbol, str(len(found.keys)), difference, d_z, *p_values])
        data.append(
            [
                *(found.first, found.second, found.metric, len(found.keys), found.seeds, found.mean, found.std),
                *(found.interval or (None, None)),
                *(found.effect_size, found.p_t, found.p_t_holm, found.p_wilcoxon, found.p_wilcoxon_holm),
                _joined([*([found.reason] if found.reason else []), *found.notes]),
            ]
        )
        for line in [*([found.reason] if found.reason else []), *found.notes]:
            reasons.setdefault(line, []).append(f"{pair}, {symbol}")
    tested = sum(found.p_t is not None for found in comparisons)
    notes = []
    if tested:
        notes.append(
            f"two-sided p-values of the paired t-test and of Wilcoxon's signed-rank test, each with Holm's correction "
            f"for {tested} comparison{'' if tested == 1 else 's'}; d_z: mean of the differences over their standard "
            "deviation"
        )
    for line, places in reasons.items():
        whose = "" if len(places) == len(comparisons) else f" ({'; '.join(places)})"
        notes.append(line + whose)
    return _Table(
        "Differences between methods in points, mean and standard deviation over common seeds.",
        ["difference", "metric", "pairs", "points", "d_z", "p (t)", "p (Wilcoxon)"],
        rows,
        [
            *("first", "second", "metric", "pairs", "seeds", "mean", "std", "low", "high", "d_z"),
            *("p_t", "p_t_holm", "p_wilcoxon", "p_wilcoxon_holm", "reasons"),
        ],
        data,
        notes,
    )


def _mean_and_std(estimate: Estimate) -> str:
    return NOT_APPLICABLE if estimate.mean is None else _plus_minus(estimate.mean, estimate.std)


def _plus_minus(mean: float, std: float | None) -> str:
    return percent(mean) if std is None else f"{percent(mean)} ± {percent(std)}"


def _p(value: float | None) -> str:
    if value is None:
        return NOT_APPLICABLE
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _joined(lines: Iterable[str]) -> str:
    return "; ".join(lines)


def gaps(records: Sequence[RunRecord]) -> list[str]:
    """Return why metrics of these runs are "n/a": one line per reason, naming the metrics and the methods."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for record in records:
        for metric in record.metrics.values():
            if metric.reason is not None:
                methods = reasons.setdefault(metric.reason, {}).setdefault(metric.symbol, [])
                if record.method not in methods:
                    methods.append(record.method)
    return _gap_lines(reasons, len({record.method for record in records}))


def _gap_lines(reasons: Mapping[str, Mapping[str, Sequence[str]]], methods: int) -> list[str]:
    """Return a line per reason from its metrics and their methods; methods are named unless all have it."""
    lines = []
    for reason, methods_of in reasons.items():
        symbols_of: dict[str, list[str]] = {}
        for symbol, having in methods_of.items():
            whose = "" if len(having) == methods else f" of {', '.join(having)}"
            symbols_of.setdefault(whose, []).append(symbol)
        places = "; ".join(", ".join(symbols) + whose for whose, symbols in symbols_of.items())
        lines.append(f"n/a ({places}): {reason}")
    return lines


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned markdown table: first column to the left, the others to the right."""
    lines = [[_escaped(cell) for cell in row] for row in [heads, *rows]]
    widths = [max(3, *(cell_len(row[column]) for row in lines)) for column in range(len(heads))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "".join(
        "| " + " | ".join(_padded(cell, width, left=i == 0) for i, (cell, width) in enumerate(cells)) + " |\n"
        for cells in (list(zip(row, widths, strict=True)) for row in [lines[0], rule, *lines[1:]])
    )


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


def _padded(cell: str, width: int, *, left: bool) -> str:
    space = " " * (width - cell_len(cell))  # a Chinese character takes two cells of a terminal
    return cell + space if left else space + cell


def _rendered(table: _Table, format: Format, standalone: bool) -> str:
    if format == "csv":
        return _csv(table)
    if format == "latex":
        return _latex(table, standalone)
    notes = "".join(line + "\n" for line in [*table.notes, *table.legend])
    return markdown_table(table.heads, table.rows) + ("\n" + notes if notes else "")


def _csv(table: _Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.data_heads)
    for row in table.data:
        writer.writerow([_data_cell(cell) for cell in row])
    return text.getvalue()


def _data_cell(cell: object) -> str:
    if cell is None:
        return NOT_APPLICABLE
    if isinstance(cell, float):  # numpy's too; further digits differ between machines
        return "NaN" if np.isnan(cell) else f"{cell:.12g}"
    return str(cell)


_PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
\thispagestyle{empty}
"""


def _latex(table: _Table, standalone: bool) -> str:
    """Return a table environment; it needs `\\usepackage{booktabs}`, and nothing else of the document around it."""
    marks = _marks(table)
    lines = [" & ".join(map(latex_text, table.heads)) + r" \\", r"\midrule"]
    for i, row in enumerate(table.rows):
        cells = [latex_text(row[0]), *(_latex_number(cell) for cell in row[1:])]
        lines.append(" & ".join(marks.get((i, j), "{}").replace("{}", cell) for j, cell in enumerate(cells)) + r" \\")
    columns = "l" + "r" * (len(table.heads) - 1)
    tabular = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"]
    if standalone:  # as wide as it is, or as the page
        fit = r"\resizebox{\ifdim\width>\linewidth \linewidth\else \width\fi}{!}{%"
        tabular = [fit, *tabular[:-1], tabular[-1] + "}"]
    below = [*table.notes, *([_joined(table.legend)] if table.legend else [])]
    notes = [rf"\par\smallskip {{\footnotesize {latex_text(note)}\par}}" for note in below]
    caption = rf"\caption{{{latex_text(table.caption)}}}"
    body = [r"\begin{table}[htbp]", r"\centering", caption, r"\smallskip", *tabular, *notes, r"\end{table}"]
    text = "\n".join(body) + "\n"
    return _PREAMBLE + text + "\\end{document}\n" if standalone else "% needs \\usepackage{booktabs}\n" + text


def _marks(table: _Table) -> dict[tuple[int, int], str]:
    """Return the LaTeX around the best and the second cells of each column in which two rows differ."""
    marks = {}
    for column, best in (table.best or {}).items():
        printed = {}
        for i, row in enumerate(table.rows):
            try:
                printed[i] = float(row[column].partition(" ")[0])
            except ValueError:
                continue  # "n/a"
        ranks = sorted(set(printed.values()), reverse=best == "highest")
        if len(ranks) < 2:
            continue
        for i, value in printed.items():
            if value in ranks[:2]:
                marks[i, column] = r"\textbf{{}}" if value == ranks[0] else r"\underline{{}}"
    return marks


_ESCAPES = {
    **{character: "\\" + character for character in "&%_#${}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "{''}",
    "'": "{'}",  # two of them are not one quotation mark
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after a line's \\ an optional argument
    "]": "{]}",
    "*": "{*}",  # \\* is another command
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\to$",
    "‘": "{`}",
    "’": "{'}",
    "“": "{``}",
    "”": "{''}",
}


def latex_text(text: str) -> str:
    """Return plain text as LaTeX that prints it: escaped, on one line, and never a command.

    Western European letters are kept. pdflatex has no letters for most others (Greek, Cyrillic, Chinese), so they stand
    as their code points, `U+4E2D`: names stay apart and the document compiles.
    """
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    text = "".join(_latex_character(character) for character in text)
    return re.sub(r"([-,])(?=\1)", r"\1{}", text)  # two hyphens are not a dash, two commas no quotation mark


def _latex_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if " " <= character <= "~" or "À" <= character <= "ÿ":
        return character
    return rf"\texttt{{U+{ord(character):04X}}}"


def _latex_number(cell: str) -> str:
    return re.sub(r"^-(?=\d)", "$-$", latex_text(cell))
