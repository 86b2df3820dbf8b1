"""What predictions of each method cost, beside how right they are."""

from collections.abc import Sequence

import numpy as np

from plora.results.comparison.comparable import require_poolable, series
from plora.results.comparison.statistics import estimates
from plora.results.metrics.run_cost import run_cost
from plora.results.metrics.run_metrics import RunMetrics
from plora.results.record.run_record import RunRecord
from plora.results.record.score import NOT_MEASURED
from plora.results.tables.numbers import how_to_read, mean_and_std, size
from plora.results.tables.rendered import Format, rendered
from plora.results.tables.table import Table


def costs_table(
    records: Sequence[RunRecord],
    format: Format = "markdown",
    standalone: bool = False,
    metric_of: RunMetrics | None = None,
) -> str:
    """Return a row per method: score, slots that predictions use, bytes kept, forward passes per prediction.

    All after the last task, as means over the runs of a method. CSV has the same under names that do not change.

    Args:
        records: complete runs on the same data, in one or several orders.
        format: `markdown`, `csv` or `latex`.
        standalone: LaTeX as a whole document.
        metric_of: as in `estimates`.

    Raises:
        RunError: the runs must not be pooled; names the difference.
    """
    return rendered(table_of_costs(records, metric_of), format, standalone)


def table_of_costs(records: Sequence[RunRecord], metric_of: RunMetrics | None = None) -> Table:
    """Return the table before it has a format, see `costs_table`."""
    require_poolable(records)
    score, runs_of = records[0].score, series(records)
    rows, data = [], []
    for label, of_metric in estimates(records, ["accuracy"], metric_of).items():
        found, runs = of_metric["accuracy"], runs_of[label]
        last = [next(reversed(run.slot_states), None) for run in runs]
        active = _mean([None if state is None else state.active for state in last])
        kept, passes = kept_bytes(runs), passes_of(runs)
        slots = NOT_MEASURED if active is None else f"{active:.1f}".removesuffix(".0")
        rows.append([label, str(found.seeds), mean_and_std(found), slots, size(kept), told_passes(passes)])
        data.append([label, len(found.keys), found.seeds, found.mean, found.std, active, kept, passes])
    unit = score.unit or score.title
    return Table(
        f"What predictions cost ({score.label} in {unit}), after the last task. Best mean in bold, second underlined.",
        ["method", "seeds", f"{score.title} {score.unit}".strip(), "active slots", "bytes kept", "forward passes"],
        rows,
        ["method", "runs", "seeds", "accuracy_mean", "accuracy_std", "active_slots", "kept_bytes", "passes"],
        data,
        [*HOW_TO_READ, *how_to_read(score)],
        {2: score.end},
    )


HOW_TO_READ = (
    "kept: on disk, to predict and to go on learning (what strategies remember), the network that all share left out "
    "unless it trains; passes: forward passes of the network per prediction",
)
"""Below a table with such columns."""


def kept_bytes(runs: Sequence[RunRecord]) -> float | None:
    """Return the mean of what some runs keep after their last task; None where one does not say."""
    return _mean([run_cost(run).kept_bytes for run in runs])


def passes_of(runs: Sequence[RunRecord]) -> int | None:
    """Return the forward passes per prediction of the runs of a method; None where they do not say one number."""
    said = {run.passes for run in runs}
    return said.pop() if len(said) == 1 else None


def told_passes(passes: int | None) -> str:
    """Return forward passes as they stand in a table."""
    return NOT_MEASURED if passes is None else str(passes)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
