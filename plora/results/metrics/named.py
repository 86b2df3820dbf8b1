"""Every metric by its name, in the words of a score."""

from collections.abc import Iterable
from functools import cache

from plora.errors import RunError, did_you_mean
from plora.results.metrics.further import COSTS, FURTHER, OF_KINDS, Further, further_metrics
from plora.results.record.matrix_metrics import METRICS, MatrixMetric, matrix_metrics
from plora.results.record.score import Score

METRIC_NAMES = tuple(
    dict.fromkeys(
        [definition.name for definition in METRICS] + [further.name for further in (*FURTHER, *OF_KINDS, *COSTS)]
    )
)
"""The name of every metric of any run: what a table can show and a search can optimise."""


@cache
def definitions(score: Score) -> dict[str, MatrixMetric | Further]:
    """Return what each metric is by its name, for runs whose matrix holds a score; every name of `METRIC_NAMES`.

    Their values may be missing: a run that recorded no pixels has no pixel accuracy.
    """
    known: dict[str, MatrixMetric | Further] = {definition.name: definition for definition in (*FURTHER, *OF_KINDS)}
    known |= {definition.name: definition for definition in COSTS}
    known |= {definition.name: definition for definition in further_metrics(score)}
    return known | {definition.name: definition for definition in matrix_metrics(score)}


def metric_names(metrics: Iterable[str] | None, score: Score) -> list[str]:
    """Return the names of metrics that are given by name or symbol, each once; those of the matrix for None.

    Raises:
        RunError: there is no such metric.
    """
    if metrics is None:
        return [definition.name for definition in METRICS]
    found = definitions(score)
    known = {name: name for name in found} | {definition.symbol: name for name, definition in found.items()}
    known |= {definition.symbol: definition.name for definition in METRICS}
    names = []
    for metric in metrics:
        if metric not in known:
            of_matrix = [definition.symbol for definition in matrix_metrics(score)]
            symbols = ", ".join(of_matrix + [definition.symbol for definition in further_metrics(score)])
            raise RunError(
                f"unknown metric '{metric}'{did_you_mean(metric, known)} (metrics: {symbols}, or their names)"
            )
        names.append(known[metric])
    return list(dict.fromkeys(names))
