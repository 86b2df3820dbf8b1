"""Which slots a run opened, uses and dropped, a row per task that it learned."""

from collections.abc import Sequence

from plora.errors import RunError
from plora.results.record.run_record import RunRecord
from plora.results.record.score import NOT_MEASURED
from plora.results.tables.folding import FOLD, shown
from plora.results.tables.numbers import percent
from plora.results.tables.one_line import shorten
from plora.results.tables.rendered import Format, rendered
from plora.results.tables.table import GONE, Table


def slots_table(record: RunRecord, format: Format = "markdown", standalone: bool = False) -> str:
    """Return a row per task learned: slots opened by then, those that predictions use, those dropped, and the share.

        share active = active / slots

    Of more than 40 tasks the first and the last have rows; CSV has all, and of each the gate's decision with its
    reason.

    Args:
        record: one run, which may be unfinished.
        format: `markdown`, `csv` or `latex`.
        standalone: LaTeX as a whole document.

    Raises:
        RunError: the record says nothing about slots.
    """
    return rendered(table_of_slots(record), format, standalone)


def table_of_slots(record: RunRecord, gone: Sequence[str] = ()) -> Table:
    """Return the table before it has a format, see `slots_table`.

    Args:
        record: one run, which may be unfinished.
        gone: tasks that were taken out of it; marked.

    Raises:
        RunError: the record says nothing about slots.
    """
    states, stages = record.slot_states, [cost.task for cost in record.cost]
    if not any(states):
        raise RunError("the record says nothing about slots: a version of plora wrote it that did not; run it again")
    rows, data = [], []
    for task, state in zip(stages, states, strict=False):
        mark = f" {GONE}" if task in gone else ""
        if state is None:
            rows.append([shorten(task, 24) + mark, *[NOT_MEASURED] * 4])
            data.append([task + mark, *[float("nan")] * 4, "", ""])
            continue
        counts = (state.opened, state.active, state.pruned)
        rows.append([shorten(task, 24) + mark, *map(str, counts), percent(state.active_share)])
        data.append([task + mark, *counts, state.active_share, str(state.dropped).lower(), state.reason])
    kept = shown(len(rows))
    before, after = (
        [rows[at] for at in kept[: len(kept) // 2]],
        [rows[at] for at in kept[len(kept) // 2 :]],
    )
    heads = ["task", "slots", "active", "pruned", "share active %"]
    fold = [[FOLD] * len(heads)] if len(kept) < len(rows) else []
    notes = ["slots: opened by then; active: predictions use them; pruned: the gate dropped them"]
    if fold:
        notes.append(
            f"{FOLD} {len(rows) - len(kept):,} more tasks; CSV has all (plora table --kind slots --format csv)"
        )
    return Table(
        f"Slots after each task: {record.method}, seed {record.seed}.",
        heads,
        [*before, *fold, *after],
        ["task", "slots", "active", "pruned", "active_share", "dropped", "reason"],
        data,
        notes,
    )
