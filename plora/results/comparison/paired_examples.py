"""Whether two runs that answered the same test examples can be told apart by them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plora.errors import RunError
from plora.results.comparison.comparable import series
from plora.results.metrics.run_metrics import RunMetrics
from plora.results.record.class_rankings import ClassRankings
from plora.results.record.run_record import RunRecord


@dataclass(frozen=True)
class PairedExamples:
    """Two methods on the same test examples.

    Args:
        first, second: their labels.
        examples: number of test examples.
        seeds: pairs of runs, one per common seed.
        difference: share right of the first less that of the second, over all examples, mean over the seeds.
        p: of McNemar's test, Bonferroni's smallest over the seeds.
    """

    first: str
    second: str
    examples: int
    seeds: int
    difference: float
    p: float


def mcnemar_p(first: ClassRankings, second: ClassRankings) -> float:
    """Return the two-sided p-value of McNemar's exact test: are as many right in one alone as in the other alone?

        b, c = examples that the first alone, the second alone has right;    b ~ Binomial(b + c, ½)

    Args:
        first, second: predictions for the same examples, in the same order.

    Raises:
        RunError: they have other examples.

    Source: McNemar (1947), Note on the sampling error of the difference between correlated proportions.
    """
    from statsmodels.stats.contingency_tables import mcnemar  # seconds to import

    first.changed(second)  # refuses other examples
    right, other = first.prediction == first.label, second.prediction == second.label
    table = [[int((right & other).sum()), int((right & ~other).sum())], [int((~right & other).sum()), 0]]
    return float(mcnemar(table, exact=True).pvalue)


def against_best(records: Sequence[RunRecord], best: str, metric_of: RunMetrics) -> list[PairedExamples]:
    """Compare each method with one of them on the test examples that both answered, seed by seed.

    Args:
        records: complete runs of one group in one order of tasks.
        best: the label to compare with, see `series`.
        metric_of: knows their predictions.

    Returns:
        One line per method that has a common seed with it and predictions; runs whose files are missing, damaged or of
        other examples are left out.
    """
    labelled = series(records)
    measured = {run.seed: found for run in labelled[best] if (found := metric_of.predictions(run)) is not None}
    compared = []
    for label, runs in labelled.items():
        if label == best:
            continue
        differences, values = [], []
        for run in runs:
            of_best = measured.get(run.seed)
            other = None if of_best is None else metric_of.predictions(run)
            if of_best is None or other is None:
                continue
            try:
                values.append(mcnemar_p(of_best, other))
            except RunError:  # other examples: nothing to pair
                continue
            right = (np.mean(each.prediction == each.label) for each in (of_best, other))
            differences.append(float(np.subtract(*right)))
        if values:
            p = min(1.0, len(values) * min(values))
            examples = len(next(iter(measured.values())))
            compared.append(PairedExamples(best, label, examples, len(values), float(np.mean(differences)), p))
    return compared
