"""Tables of a cascade: its nodes, its ways of asking, what it saves; and several cascades side by side."""

from collections.abc import Mapping

from plora.results.record.cascade_result import CascadeResult
from plora.results.tables.numbers import percent
from plora.results.tables.one_line import shorten
from plora.results.tables.table import Table

_WAYS = {
    "pipeline": "each node sends an example to its likeliest answer",
    "likeliest": "the leaf with the largest product of probabilities",
    "oracle": "told the way to the node above its leaf",
    "flat": "the flat classifier",
}


def table_of_nodes(result: CascadeResult) -> Table:
    """Return a row per node; see `plora.results.metrics.cascade.NodeScore`."""
    heads = [
        "node",
        "examples",
        "arrived",
        "strangers",
        "alone %",
        "F1",
        "recall %",
        "below %",
        "pipeline %",
        "error %",
    ]
    rows = [
        [
            shorten(score.node, 24),
            f"{score.support:,}",
            f"{score.arrived:,}",
            f"{score.strangers:,}",
            percent(score.accuracy),
            percent(score.macro_f1),
            percent(score.recall),
            percent(score.alone),
            percent(score.pipeline),
            percent(score.cascade_error),
        ]
        for score in result.scores
    ]
    data = [
        [
            *(score.node, score.support, score.arrived, score.strangers, score.accuracy, score.macro_f1),
            *(score.recall, score.alone, score.pipeline, score.cascade_error),
        ]
        for score in result.scores
    ]
    return Table(
        caption="Nodes of a cascade",
        heads=heads,
        rows=rows,
        data_heads=[
            *("node", "support", "arrived", "strangers", "accuracy", "macro_f1"),
            *("recall", "alone", "pipeline", "cascade_error"),
        ],
        data=data,
        notes=[
            "alone: right answers of the node to its own examples; F1: macro; recall: of them sent there; below: right "
            "leaves where the way there is told; pipeline: from the root on; error = below − pipeline"
        ],
    )


def table_of_ways(result: CascadeResult) -> Table:
    """Return a row per way of asking, and the gain over the flat classifier below it."""
    rows = [
        [_WAYS[way], percent(whole.accuracy), f"{percent(whole.low)} to {percent(whole.high)}", percent(whole.macro_f1)]
        for way, whole in result.whole.items()
    ]
    notes = [f"95 % intervals over {result.examples:,} test examples (Wilson); F1: macro, of the leaves"]
    if result.gain is not None:
        gain = result.gain
        notes.append(
            f"pipeline less flat, on the same examples: {100 * gain.value:+.1f} points "
            f"({100 * gain.low:+.1f} to {100 * gain.high:+.1f} by the bootstrap)"
        )
    if result.cost_gain is not None:
        cost = result.cost_gain
        notes.append(
            f"what its answers cost, less flat's: {100 * cost.value:+.2f} % of the least cost "
            f"({100 * cost.low:+.2f} to {100 * cost.high:+.2f} by the bootstrap); lower is better"
        )
    return Table(
        caption="Ways of asking a cascade",
        heads=["way", "accuracy %", "95 %", "F1"],
        rows=rows,
        data_heads=["way", "accuracy", "low", "high", "macro_f1"],
        data=[[way, one.accuracy, one.low, one.high, one.macro_f1] for way, one in result.whole.items()],
        notes=notes,
    )


def table_of_savings(result: CascadeResult) -> Table:
    """Return a row per loss that validation allowed: what its thresholds save and lose on test."""
    what = "cost lost %" if result.costed else "right leaf not tried %"
    rows = [
        [
            percent(point.at),
            f"{point.searches:.2f}",
            percent(point.saved),
            percent(point.lost),
            f"{percent(point.low)} to {percent(point.high)}",
        ]
        for point in result.chosen
    ]
    return Table(
        caption="Searches saved against what is lost",
        heads=["allowed on validation %", "searches", "saved %", what, "95 %"],
        rows=rows,
        data_heads=["allowed", "searches", "saved", "lost", "low", "high"],
        data=[[one.at, one.searches, one.saved, one.lost, one.low, one.high] for one in result.chosen],
        notes=[
            f"of {len(result.leaves)} leaves; a node whose likeliest answer is not above its threshold tries all; "
            "thresholds are chosen on validation, test is only scored"
        ],
    )


def table_of_cascades(results: Mapping[str, CascadeResult]) -> Table:
    """Return a row per cascade, by its name: what it costs that a router sends, and what that brings.

    Args:
        results: of the same leaves and test examples.
    """
    rows, data = [], []
    for name, result in results.items():
        last = [score for score in result.scores if score.node != result.tree.root]
        error = sum(score.support * score.cascade_error for score in last) / max(1, sum(one.support for one in last))
        saved = max((point.saved for point in result.chosen if point.at <= 0.01), default=0.0)
        pipeline, oracle = result.whole["pipeline"], result.whole["oracle"]
        numbers = [pipeline.accuracy, pipeline.low, pipeline.high, pipeline.macro_f1, oracle.accuracy, error, saved]
        cells = [percent(number) for number in numbers]
        rows.append([shorten(name, 32), cells[0], f"{cells[1]} to {cells[2]}", *cells[3:]])
        data.append([name, *numbers])
    return Table(
        caption="Cascades",
        heads=["cascade", "pipeline %", "95 %", "F1", "oracle %", "cascade error %", "saved % at 1 %"],
        rows=rows,
        data_heads=["cascade", "pipeline", "low", "high", "macro_f1", "oracle", "cascade_error", "saved"],
        data=data,
        notes=[
            "cascade error: mean over the nodes below the root, by their examples; saved: with thresholds for a loss "
            "of 1 % on validation"
        ],
    )
