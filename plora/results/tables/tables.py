"""Tables of runs and methods, as Markdown for the terminal, as CSV for programs, and as LaTeX for papers.

In Markdown and LaTeX accuracies are percentages with one decimal, other scores in their unit; CSV has twelve digits,
accuracies as fractions. A cell that
was not measured is "–" (CSV: `NaN`), a number that cannot be given is "n/a", and the reason stands below the table
(CSV: in the column `reasons`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np

from plora.errors import RunError
from plora.results.comparison.comparable import labels_of, require_comparable, series
from plora.results.comparison.doubts import SEEDS_FOR_A_CLAIM, split_doubts
from plora.results.comparison.sampling import size_interval, wilson
from plora.results.comparison.statistics import Comparison, Estimate, compare, estimates
from plora.results.metrics.chance import Chance
from plora.results.metrics.named import definitions, metric_names
from plora.results.metrics.run_cost import run_cost
from plora.results.metrics.run_metrics import RunMetrics
from plora.results.record.forgotten import read_forgotten
from plora.results.record.found_runs import FoundRuns, find_runs
from plora.results.record.matrix_metrics import seen_accuracy
from plora.results.record.run_record import RunRecord
from plora.results.record.score import ACCURACY, NOT_APPLICABLE, NOT_MEASURED, Score
from plora.results.tables.class_step_table import table_of_class_steps
from plora.results.tables.cost_table import HOW_TO_READ, kept_bytes, passes_of, table_of_costs, told_passes
from plora.results.tables.folding import ENDS, FOLD, shown
from plora.results.tables.numbers import (
    head_of,
    how_to_read,
    mean_and_std,
    plus_minus,
    size,
)
from plora.results.tables.one_line import shorten
from plora.results.tables.rendered import Format, rendered
from plora.results.tables.slot_table import table_of_slots
from plora.results.tables.table import GONE, Table

NAMES_UP_TO = 8  # tasks: with more, columns have numbers and a legend follows

Kind = Literal["methods", "differences", "runs", "costs", "matrix", "slots", "steps"]
OF_ONE_RUN = ("matrix", "slots", "steps")
"""Kinds of tables that are about one run, which may be unfinished."""


def matrix_table(
    record: RunRecord, format: Format = "markdown", standalone: bool = False, metric_of: RunMetrics | None = None
) -> str:
    """Return the accuracy matrix: a row per state, a column per task, and the mean over tasks seen.

    Of accuracies two kinds of rows follow: chance, where the run has predictions, and the ends of the interval that
    the number of test examples leaves to the last row (`plora.results.comparison.sampling`). CSV is the matrix alone.

    Row "before training" is left out when it was not measured; CSV has it always. Of more than 40 tasks the first and
    the last have rows and columns, and a note says how many more there are; CSV has all.

    Args:
        record: one run, which may be unfinished.
        format: `markdown`, `csv` or `latex`.
        standalone: LaTeX as a whole document.
        metric_of: as in `estimates`; knows the predictions, from which chance is.
    """
    return rendered(_matrix(record, metric_of or RunMetrics()), format, standalone)


def summary_table(
    records: Sequence[RunRecord],
    format: Format = "markdown",
    standalone: bool = False,
    metrics: Sequence[str] | None = None,
    metric_of: RunMetrics | None = None,
) -> str:
    """Return a row per run with its metrics, and below the table the reason of each "n/a".

    Args:
        records: runs on one stream in one order.
        format: `markdown`, `csv` or `latex` (which marks best and second, see `comparison_table`).
        standalone: LaTeX as a whole document.
        metrics: names or symbols; by default all of the matrix.
        metric_of: as in `estimates`.

    Raises:
        RunError: the runs must not be compared (names the difference), or a metric is unknown.
    """
    return rendered(_summary(records, metrics, metric_of or RunMetrics()), format, standalone)


def comparison_table(
    records: Sequence[RunRecord],
    metrics: Sequence[str] | None = None,
    format: Format = "markdown",
    standalone: bool = False,
    metric_of: RunMetrics | None = None,
) -> str:
    """Return a row per method: mean ± standard deviation of each metric over its seeds and orders.

    In LaTeX (booktabs) the best mean of each column is bold and the second is underlined; means that print alike are
    marked alike. Marks say which number is larger, not that the difference means something: see `differences_table`.

    Args:
        records: complete runs on the same data, in one or several orders.
        metrics: names or symbols; by default all of the matrix.
        format: `markdown`, `csv` or `latex`; CSV has the t interval too.
        standalone: LaTeX as a whole document that pdflatex compiles.
        metric_of: as in `estimates`.

    Raises:
        RunError: the runs must not be pooled (names the difference), one is unfinished, or a metric is unknown.
    """
    return rendered(_comparison(records, metrics, metric_of), format, standalone)


def differences_table(
    records: Sequence[RunRecord],
    metrics: Sequence[str] | None = None,
    format: Format = "markdown",
    standalone: bool = False,
    against: str | None = None,
    metric_of: RunMetrics | None = None,
) -> str:
    """Return a row per pair of methods: difference, effect size and corrected p-values, see `compare`.

    Args:
        records: complete runs on the same data, in one or several orders.
        metrics: names or symbols; by default ACC alone, since every further one makes all p-values larger.
        format: `markdown`, `csv` or `latex`; CSV has the uncorrected p-values and the interval too.
        standalone: LaTeX as a whole document that pdflatex compiles.
        against: a method to compare all others with; by default every method with every other.
        metric_of: as in `estimates`.

    Raises:
        RunError: the runs must not be pooled (names the difference), one is unfinished, or a name is unknown.
    """
    return rendered(_differences(records, metrics, against, metric_of), format, standalone)


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
        kind: `methods` (`comparison_table`), `differences` (`differences_table`), `runs` (`summary_table`), `costs`
            (`costs_table`), and of one run `matrix` (`matrix_table`), `slots` (`slots_table`) or `steps`
            (`class_steps_table`). Unfinished runs are left out of all but those of one run. Where tasks were taken out
            of runs (`plora forget`), notes say so, and CSV has a column `taken_out` with them; in `matrix` and `slots`
            a † stands beside their names, in CSV too.
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
    if metrics and kind in (*OF_ONE_RUN, "costs"):
        raise RunError(f"a table of kind '{kind}' has no choice of metrics; leave them out, or set another kind")
    found = find_runs(paths)
    records = [record for record in found.runs.values() if record.complete or kind in OF_ONE_RUN]
    if not records:
        raise RunError("no run can stand in a table: " + "; ".join([*found.left_out, *found.unfinished]))
    if kind in OF_ONE_RUN and len(records) > 1:
        raise RunError(f"a table of kind '{kind}' is that of one run, got {len(records)} runs; name one")
    metric_of = RunMetrics(found.runs)
    gone = {
        path: read_forgotten(path).tasks for path, record in found.runs.items() if record.complete or kind in OF_ONE_RUN
    }
    if kind == "matrix":
        table = _matrix(records[0], metric_of, next(iter(gone.values())))
    elif kind == "slots":
        table = table_of_slots(records[0], next(iter(gone.values())))
    elif kind == "steps":
        table = table_of_class_steps(next(path for path, one in found.runs.items() if one is records[0]), records[0])
    elif kind == "costs":
        table = table_of_costs(records, metric_of)
    elif kind == "runs":
        table = _summary(records, metrics, metric_of)
    elif kind == "differences":
        table = _differences(records, metrics, against, metric_of)
    else:
        table = _comparison(records, metrics, metric_of)
    if any(gone.values()):
        table = replace(table, notes=[*table.notes, *_of_forgotten(gone)])
        if kind not in OF_ONE_RUN:
            table = _with_gone(table, cast(Kind, kind), records, list(gone.values()))
    return rendered(table, cast(Format, format), standalone), found


def _of_forgotten(gone: Mapping[Path, Sequence[str]]) -> list[str]:
    """Say of each run with tasks that were taken out which they are: it cannot do any more what was measured."""
    return [
        f"{GONE} {', '.join(' '.join(task.split()) for task in tasks)} of {path}: taken out by plora forget "
        "after this was measured"
        for path, tasks in gone.items()
        if tasks
    ]


def _with_gone(table: Table, kind: Kind, records: Sequence[RunRecord], gone: Sequence[Sequence[str]]) -> Table:
    """Say the same to programs: a last column with the tasks that were taken out of the runs of each row.

    Args:
        table: of a kind that is about several runs.
        kind: of the table.
        records: of the runs, in the order of the rows where each has one.
        gone: of each run.
    """
    of_label: dict[object, list[str]] = {}
    for label, tasks in zip(labels_of(records), gone, strict=True):
        of_label.setdefault(label, []).extend(tasks)
    if kind == "runs":
        of_rows = [list(tasks) for tasks in gone]
    elif kind == "differences":
        of_rows = [of_label[first] + of_label[second] for first, second, *_ in table.data]
    else:
        of_rows = [of_label[label] for label, *_ in table.data]
    data = [[*row, _joined(dict.fromkeys(tasks))] for row, tasks in zip(table.data, of_rows, strict=True)]
    return replace(table, data_heads=[*table.data_heads, "taken_out"], data=data)


def _matrix(record: RunRecord, metric_of: RunMetrics, gone: Sequence[str] = ()) -> Table:
    T, score = len(record.tasks), record.score
    label = score.label[0].upper() + score.label[1:]
    head_of_rows = score.title if score.unit in ("", score.title) else f"{score.title} {score.unit}"
    named, kept = T <= NAMES_UP_TO, shown(T)
    names = [shorten(record.tasks[j], 16) if named else str(j + 1) for j in kept]
    marked = [f"{name} {GONE}" if record.tasks[j] in gone else name for name, j in zip(names, kept, strict=True)]
    heads, rows = _folded(marked, T), []
    if not np.isnan(record.matrix[0]).all():
        rows.append(["before training", *_folded(list(map(score.text, record.matrix[0, kept])), T), ""])
    seen = seen_accuracy(record.matrix)
    learned = [
        [f"after {name}", *_folded(list(map(score.text, record.matrix[j + 1, kept])), T), score.text(seen[j])]
        for name, j in zip(names, kept, strict=True)
    ]
    rows += learned if len(kept) == T else [*learned[:ENDS], [FOLD] * (len(heads) + 2), *learned[ENDS:]]
    states = ["before training", *(f"after {task}" for task in record.tasks)]
    data = [[state, *row, mean] for state, row, mean in zip(states, record.matrix, [np.nan, *seen], strict=True)]
    notes = []
    if (chance := metric_of.chance([record])) is not None:
        cells = _folded(list(map(score.text, chance.tasks[kept])), T)
        rows.append(["chance", *cells, score.text(chance.mean)])
        notes.append(chance_note(record, chance))
    elif damage := metric_of.damage([record]):
        notes.append(f"n/a (chance): {damage}")
    if (of_mean := size_interval([record])) is not None and record.sizes is not None:
        bounds = wilson(record.matrix[-1], record.sizes)
        for what, ends, end in zip(("at least (95 %)", "at most (95 %)"), bounds.T, of_mean, strict=True):
            rows.append([what, *_folded(list(map(score.text, ends[kept])), T), score.text(end)])
        notes.append(size_note([record], of_mean))
    legend = [] if named else [f"{j + 1}: {' '.join(record.tasks[j].split())}" for j in kept]
    return Table(
        f"{label} on each task after each task: {record.method}, seed {record.seed}.",
        [head_of_rows, *heads, "mean seen"],
        rows,
        [score.name, *(f"{task} {GONE}" if task in gone else task for task in record.tasks), "mean seen"],
        data,
        [*_left_out(T), *notes, *how_to_read(score), *split_doubts([record])],
        legend=legend,
    )


def _folded(cells: list[str], T: int) -> list[str]:
    """Cells of the columns shown, with one that says that there are more between them."""
    return cells if len(cells) == T else [*cells[:ENDS], FOLD, *cells[ENDS:]]


def _left_out(T: int) -> list[str]:
    """A line where not every task is shown."""
    hidden = T - len(shown(T))
    where = "the whole matrix is in results.json, and in the table as CSV (plora table --kind matrix --format csv)"
    return [f"{FOLD} {hidden:,} more tasks; {where}"] if hidden else []


_SPENT = ("samples/s", "tokens/s", "TFLOP", "kJ", "rehearsed", "strategy seconds", "steps to 90 %", "kept", "passes")
"""Of a run; what no run of a table has any of is left out, but not in CSV, whose columns do not change."""


def _summary(records: Sequence[RunRecord], metrics: Sequence[str] | None, metric_of: RunMetrics) -> Table:
    require_comparable(records)
    cells_are = records[0].score
    names, told = metric_names(metrics, cells_are), definitions(cells_are)
    named = len({record.name for record in records}) > 1
    rows, data, spent = [], [], []
    for record, label in zip(records, labels_of(records), strict=True):
        found = [metric_of(record, name) for name in names]
        cost = run_cost(record)
        speed = metric_of(record, "learning_speed").value
        if named:  # all of them, where the label has only names that tell methods apart
            name = f"{record.method} ({record.name})"
            label = name + label.removeprefix(name if label.startswith(name) else record.method)
        cells = [metric.score.text(metric.value) for metric in found]
        rows.append([label, str(record.seed), *cells, f"{cost.trainable_parameters:,}", f"{cost.seconds:.0f}"])
        rates = [_short(cost.samples_per_second), _short(cost.tokens_per_second)]
        protecting = [_short(cost.rehearsed), _short(cost.strategy_seconds)]
        used = [_short(cost.flops, 1e12), _short(cost.energy_joules, 1e3), *protecting, _short(speed)]
        spent.append([*rates, *used, size(cost.kept_bytes), told_passes(record.passes)])
        numbers = [metric.value for metric in found]
        reasons = _joined(f"{metric.symbol}: {metric.reason}" for metric in found if metric.reason is not None)
        data.append(
            [
                *(record.method, record.name, record.seed, *numbers, cost.trainable_parameters, cost.seconds),
                *(cost.samples_per_second, cost.tokens_per_second, cost.flops, cost.energy_joules),
                *(cost.rehearsed, cost.strategy_seconds, speed, cost.kept_bytes, record.passes, reasons),
            ]
        )
    measured = [column for column in range(len(_SPENT)) if any(row[column] not in (NOT_MEASURED, "0") for row in spent)]
    return Table(
        f"Metrics ({cells_are.unit or cells_are.title}) of each run. Best in bold, second underlined.",
        ["method", "seed", *_heads(names, cells_are), "trainable", "seconds", *(_SPENT[column] for column in measured)],
        [[*row, *(more[column] for column in measured)] for row, more in zip(rows, spent, strict=True)],
        [
            *("method", "name", "seed", *names, "trainable_parameters", "seconds", "samples_per_second"),
            *("tokens_per_second", "flops", "energy_joules", "rehearsed", "strategy_seconds"),
            *("steps_to_90_percent", "kept_bytes", "passes", "reasons"),
        ],
        data,
        [
            *_gaps(records, names, metric_of),
            *(chance_and_size([[record] for record in records], metric_of) if "accuracy" in names else ()),
            *(HOW_TO_READ if "kept" in [_SPENT[column] for column in measured] else ()),
            *how_to_read(cells_are),
            *split_doubts(records),
        ],
        {column: told[name].score.end for column, name in enumerate(names, start=2)},
    )


def _comparison(records: Sequence[RunRecord], metrics: Sequence[str] | None, metric_of: RunMetrics | None) -> Table:
    cells_are = records[0].score if records else ACCURACY
    names = metric_names(metrics, cells_are)
    found = estimates(records, names, metric_of)
    first_of = {label: next(iter(of_metric.values())) for label, of_metric in found.items()}
    first_of_all = next(iter(found.values()))
    several_orders, runs_of = len({record.tasks for record in records}) > 1, series(records)
    rows, data, costs = [], [], []
    for label, of_metric in found.items():
        first = first_of[label]
        runs = [str(first.seeds), *([str(first.orders), str(len(first.keys))] if several_orders else [])]
        rows.append([label, *runs, *(mean_and_std(of_metric[name]) for name in names)])
        row: list[object] = [label, len(first.keys), first.seeds, first.orders]
        for name in names:
            estimate = of_metric[name]
            row += [estimate.mean, estimate.std, *(estimate.interval or (None, None))]
        reasons = _joined(
            f"{of_metric[name].symbol}: {of_metric[name].reason}" for name in names if of_metric[name].reason
        )
        kept, passes = kept_bytes(runs_of[label]), passes_of(runs_of[label])
        costs.append([size(kept), told_passes(passes)])
        data.append([*row, kept, passes, reasons])
    said = any(cells != [NOT_MEASURED] * 2 for cells in costs)
    counts = ["seeds", "orders", "runs"] if several_orders else ["seeds"]
    over = "seeds and orders of the tasks" if several_orders else "seeds"
    unit = cells_are.unit or cells_are.title
    return Table(
        f"Mean and standard deviation ({unit}) over {over}. Best mean in bold, second underlined.",
        ["method", *counts, *_heads(names, cells_are), *(("kept", "passes") if said else ())],
        [[*row, *(cost if said else ())] for row, cost in zip(rows, costs, strict=True)],
        [
            *("method", "runs", "seeds", "orders"),
            *(f"{name}_{what}" for name in names for what in ("mean", "std", "low", "high")),
            *("kept_bytes", "passes", "reasons"),
        ],
        data,
        [
            *comparison_notes(records, found),
            *(chance_and_size([*runs_of.values()], metric_of or RunMetrics()) if "accuracy" in names else ()),
            *(HOW_TO_READ if said else ()),
            *how_to_read(cells_are),
            *split_doubts(records),
        ],
        {column: first_of_all[name].score.end for column, name in enumerate(names, start=1 + len(counts))},
    )


def comparison_notes(records: Sequence[RunRecord], found: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Return below a comparison: why cells are empty, few seeds, unequal seeds, and which order is which."""
    first_of = {label: next(iter(of_metric.values())) for label, of_metric in found.items()}
    notes = _places(found, "n/a", lambda estimate: estimate.mean is None)
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


def chance_and_size(of_methods: Sequence[Sequence[RunRecord]], metric_of: RunMetrics) -> list[str]:
    """Return a line with chance, and one that says how far the number of test examples lets ACC be known.

    Args:
        of_methods: comparable runs, those of each method together.
        metric_of: knows the predictions, from which chance is.
    """
    notes = []
    records = [record for runs in of_methods for record in runs]
    if (chance := metric_of.chance(records)) is not None:
        notes.append(chance_note(records[0], chance))
    elif damage := metric_of.damage(records):
        notes.append(f"n/a (chance): {damage}")
    found = [bounds for runs in of_methods if (bounds := size_interval(runs)) is not None]
    if found:
        notes.append(size_note(records, max(found, key=lambda bounds: bounds[1] - bounds[0])))
    return notes


def chance_note(record: RunRecord, chance: Chance) -> str:
    """Return the chance of ACC, and what that is."""
    whose = "of each task's test labels" if record.scenario == "task" else "of all test labels, for every task"
    return f"chance: ACC {record.score.text(chance.mean)}, by the most frequent class {whose}"


def size_note(records: Sequence[RunRecord], bounds: tuple[float, float]) -> str:
    """Return how far ACC is known, by the ends of its interval."""
    half = 100 * (bounds[1] - bounds[0]) / 2
    few = f"{sum(records[0].sizes or ()):,} {records[0].split} examples"
    best = " or better" if len(records) > 1 else ""
    how = "95 %, Wilson's interval of each task, joined"
    return f"{few}: ACC is known to ± {half:.1f} points{best}, whatever the seeds ({how})"


def interval_notes(found: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Return why means have no interval, one line per reason."""
    return _places(found, "no interval", lambda estimate: estimate.mean is not None and estimate.interval is None)


def _places(found: Mapping[str, Mapping[str, Estimate]], what: str, lacking: Callable[[Estimate], bool]) -> list[str]:
    places: dict[str, dict[str, list[str]]] = {}
    for label, of_metric in found.items():
        for estimate in of_metric.values():
            if lacking(estimate) and estimate.reason is not None:
                places.setdefault(estimate.reason, {}).setdefault(estimate.symbol, []).append(label)
    return _gap_lines(places, len(found), what)


def _differences(
    records: Sequence[RunRecord],
    metrics: Sequence[str] | None,
    against: str | None,
    metric_of: RunMetrics | None,
) -> Table:
    compared = compare(records, metrics or ("accuracy",), against, metric_of)
    table = table_of_differences(compared, records[0].score)
    return replace(table, notes=[*table.notes, *split_doubts(records)])


def table_of_differences(comparisons: Sequence[Comparison], cells_are: Score) -> Table:
    """Return a row per comparison.

    Args:
        comparisons: of runs whose matrices hold one score.
        cells_are: that score.

    Raises:
        RunError: there are none.
    """
    if not comparisons:
        raise RunError("one method alone is compared with nothing; name runs of at least two")
    rows, data = [], []
    reasons: dict[str, list[str]] = {}
    for found in comparisons:
        symbol = head_of(found.symbol, found.score, cells_are)
        pair = f"{found.first} − {found.second}"
        difference = NOT_APPLICABLE if found.mean is None else plus_minus(found.score, found.mean, found.std)
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
    unit = cells_are.of_differences or cells_are.title
    tested = sum(found.p_t is not None for found in comparisons)
    notes = []
    if tested:
        notes.append(
            f"two-sided p-values of the paired t-test and of Wilcoxon's signed-rank test, each with Holm's correction "
            f"for {tested} comparison{'' if tested == 1 else 's'}; d_z: mean of the differences over their standard "
            "deviation"
        )
    notes += how_to_read(cells_are)
    for line, places in reasons.items():
        whose = "" if len(places) == len(comparisons) else f" ({'; '.join(places)})"
        notes.append(line + whose)
    return Table(
        f"Differences between methods in {unit}, mean and standard deviation over common seeds.",
        ["difference", "metric", "pairs", unit, "d_z", "p (t)", "p (Wilcoxon)"],
        rows,
        [
            *("first", "second", "metric", "pairs", "seeds", "mean", "std", "low", "high", "d_z"),
            *("p_t", "p_t_holm", "p_wilcoxon", "p_wilcoxon_holm", "reasons"),
        ],
        data,
        notes,
    )


def _short(value: float | None, divisor: float = 1) -> str:
    """Return three significant digits or whole numbers; "–" for what was not measured."""
    if value is None:
        return NOT_MEASURED
    value = value / divisor
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _p(value: float | None) -> str:
    if value is None:
        return NOT_APPLICABLE
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _heads(names: Sequence[str], cells_are: Score) -> list[str]:
    told = definitions(cells_are)
    return [head_of(told[name].symbol, told[name].score, cells_are) for name in names]


def _joined(lines: Iterable[str]) -> str:
    return "; ".join(lines)


def _gaps(records: Sequence[RunRecord], names: Sequence[str], metric_of: RunMetrics) -> list[str]:
    """Return why metrics of these runs are "n/a": one line per reason, naming the metrics and the methods."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for record in records:
        for name in names:
            metric = metric_of(record, name)
            if metric.reason is not None:
                methods = reasons.setdefault(metric.reason, {}).setdefault(metric.symbol, [])
                if record.method not in methods:
                    methods.append(record.method)
    return _gap_lines(reasons, len({record.method for record in records}), "n/a")


def _gap_lines(reasons: Mapping[str, Mapping[str, Sequence[str]]], methods: int, what: str) -> list[str]:
    """Return a line per reason from its metrics and their methods; methods are named unless all have it."""
    lines = []
    for reason, methods_of in reasons.items():
        symbols_of: dict[str, list[str]] = {}
        for symbol, having in methods_of.items():
            whose = "" if len(having) == methods else f" of {', '.join(having)}"
            symbols_of.setdefault(whose, []).append(symbol)
        places = "; ".join(", ".join(symbols) + whose for whose, symbols in symbols_of.items())
        lines.append(f"{what} ({places}): {reason}")
    return lines
