"""Metrics that need more than the matrix: test sizes, a reference, records per example, the learning curve, costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from plora.results.metrics.classification import expected_calibration_error, macro_f1, task_accuracy
from plora.results.metrics.learning_speed import learning_speed
from plora.results.metrics.pooled import pooled_accuracy, pooled_average_incremental_accuracy
from plora.results.metrics.references import forward_transfer_of_learning, intransigence
from plora.results.record.matrix import Matrix, MetricError
from plora.results.record.matrix_metrics import METRICS, Metric, said_of
from plora.results.record.measurements import Measurements
from plora.results.record.score import ACCURACY, PERCENT, SCORES, Better, Score

Needs = Literal[
    "sizes",
    "joint",
    "single",
    "class_rankings",
    "token_likelihoods",
    "word_tags",
    "pixel_counts",
    "label_scores",
    "predicted_numbers",
    "curves",
    "cost",
]

MISSING: Mapping[Needs, str] = {
    "sizes": "needs the number of test examples of each task (plora metrics --sizes)",
    "joint": "needs a reference, the accuracies of joint training (plora metrics --joint)",
    "single": "needs a reference, the accuracies of each task learned alone (plora metrics --single)",
    "class_rankings": "needs the predictions of a run folder",
    "token_likelihoods": "needs the likelihoods of a run folder",
    "word_tags": "needs the tags of a run folder",
    "pixel_counts": "needs the pixel counts of a run folder",
    "label_scores": "needs the scores of labels of a run folder",
    "predicted_numbers": "needs the predicted numbers of a run folder",
    "curves": "needs the learning curve of a run folder",
    "cost": "needs the costs of a run folder",
}
"""Why a metric has no value when what it needs was not given."""


@dataclass(frozen=True)
class Further:
    """One metric that needs more than the matrix.

    Args:
        name, symbol, title, text: as in `Metric`; `text` is its definition.
        needs: `sizes` and the references are `[T]`, `curves` are points, `cost` is the `RunCost`, and the kinds of
            `MEASUREMENTS` are what was measured after the last row.
        function: of the matrix, what it needs, and which way the cells of the matrix are better.
        score: its unit, and which way is better.
    """

    name: str
    symbol: str
    title: str
    text: str
    needs: Needs
    function: Callable[[Matrix, Any, Better], float]
    score: Score

    def metric(self, R: Matrix, given: object, cells: Score = ACCURACY) -> Metric:
        """Return the metric of a matrix and what it needs; the reason instead of a value where that is None.

        Args:
            R: `[T + 1, T]`.
            given: what it needs.
            cells: what a cell of the matrix is.
        """
        if given is None:
            return self.missing(said_of(MISSING[self.needs], cells))
        if isinstance(given, Measurements) and given.kind != self.needs:
            if self.score is not None and self.score.name in given.scores:
                value = given.value(self.score)
                return Metric(self.name, self.symbol, self.title, self.text, value, None, self.score)
            other, needed = (kind.replace("_", " ") for kind in (given.kind, self.needs))
            return self.missing(f"needs {needed}, and this run recorded {other}")
        try:
            value = self.function(R, given, cells.better)
        except MetricError as error:
            return self.missing(said_of(error.reason, cells))
        if value != value:
            return self.missing(
                "has no value here: it was not measured, all is the same, or tasks differ in their targets"
            )
        return Metric(self.name, self.symbol, self.title, self.text, value, None, self.score)

    def missing(self, reason: str) -> Metric:
        """Return the metric without a value."""
        return Metric(self.name, self.symbol, self.title, self.text, None, reason, self.score)


_POOLED = (
    Further(
        "pooled_accuracy",
        "ACC pooled",
        "Last accuracy over all test examples",
        "Share of right predictions among the test examples of all tasks after the last one: "
        "ACC pooled = (sum over j of n_j R[T,j]) / (sum over j of n_j).",
        "sizes",
        lambda R, sizes, _: pooled_accuracy(R, sizes),
        ACCURACY,
    ),
    Further(
        "pooled_average_incremental_accuracy",
        "AIA pooled",
        "Average incremental accuracy over all test examples",
        "Share of right predictions among the test examples seen so far, averaged over the tasks: "
        "AIA pooled = mean over t of (sum over j ≤ t of n_j R[t,j]) / (sum over j ≤ t of n_j).",
        "sizes",
        lambda R, sizes, _: pooled_average_incremental_accuracy(R, sizes),
        ACCURACY,
    ),
)
"""Their formula holds for what is a mean over examples: of accuracies alone."""

_OF_CLASSES = (
    Further(
        "macro_f1",
        "macro-F1",
        "Macro-F1",
        "Mean over the classes of the F1 of all test examples after the last row: "
        "macro-F1 = mean over c of 2 TP_c / (2 TP_c + FP_c + FN_c).",
        "class_rankings",
        lambda _, rankings, __: macro_f1(rankings),
        SCORES["macro_f1"],
    ),
    Further(
        "task_accuracy",
        "TA",
        "Task accuracy",
        "Share of the test examples after the last row whose predicted class is one of their own task (100 % where the "
        "task is given; of a method that routes, the accuracy of its router): "
        "TA = mean over n of 1 if task(prediction_n) is task_n.",
        "class_rankings",
        lambda _, rankings, __: task_accuracy(rankings),
        Score("task_accuracy", PERCENT, "higher", 0.0, 1.0),
    ),
    Further(
        "expected_calibration_error",
        "ECE",
        "Expected calibration error",
        "Distance between probability and share of right predictions, 15 equal-width bins: "
        "ECE = sum over bins of N_b/N · abs(accuracy_b − probability_b).",
        "class_rankings",
        lambda _, rankings, __: expected_calibration_error(rankings),
        Score("expected_calibration_error", PERCENT, "lower", 0.0, 1.0),
    ),
)


def _of_all_examples(name: str, symbol: str, title: str, text: str, needs: Needs) -> Further:
    """A score of `SCORES`, of all examples together after the last row."""
    score = SCORES[name]
    return Further(name, symbol, title, text, needs, lambda _, measured, __: measured.value(score), score)


OF_KINDS = (
    _of_all_examples(
        "nats_per_byte",
        "nats/byte",
        "Nats per byte of all documents",
        "Negative log-likelihood of all test documents after the last row over their length: "
        "nats/byte = (sum over n of NLL_n) / (sum over n of bytes_n).",
        "token_likelihoods",
    ),
    _of_all_examples(
        "nats_per_token",
        "nats/token",
        "Nats per token of all documents",
        "Negative log-likelihood of all test documents after the last row over their tokens: "
        "nats/token = (sum over n of NLL_n) / (sum over n of tokens_n).",
        "token_likelihoods",
    ),
    _of_all_examples(
        "perplexity",
        "PPL",
        "Perplexity of all documents",
        "What a token costs, as a number of equally likely ones: PPL = exp(nats/token).",
        "token_likelihoods",
    ),
    _of_all_examples(
        "exact_match",
        "EM",
        "Exact match of all documents",
        "Share of the test documents after the last row at whose answers the likeliest token is right at every place, "
        "their ends included: EM = mean over n of 1 if greedy decoding writes exactly the answers of n.",
        "token_likelihoods",
    ),
    *(
        _of_all_examples(
            name,
            symbol,
            f"{symbol} of all answers",
            f"Mean over all answers after the last row of the F1 of {what}, of what is written and what is right, "
            "without stemming.",
            "token_likelihoods",
        )
        for name, symbol, what in (
            ("rouge_1", "ROUGE-1", "words"),
            ("rouge_2", "ROUGE-2", "pairs of words"),
            ("rouge_l", "ROUGE-L", "the longest common subsequence of words"),
        )
    ),
    _of_all_examples(
        "entity_f1",
        "EF1",
        "Entity F1 of all sentences",
        "2 TP / (true + predicted entities) over all sentences after the last row, TP those with the same words and "
        "type; an I- that follows no word of its type begins one (seqeval, micro).",
        "word_tags",
    ),
    _of_all_examples(
        "entity_f1_strict",
        "EF1 strict",
        "Strict entity F1 of all sentences",
        "2 TP / (true + predicted entities) over all sentences after the last row, of entities that begin with B- "
        "alone (seqeval, micro, mode strict, scheme IOB2).",
        "word_tags",
    ),
    _of_all_examples(
        "word_accuracy",
        "WA",
        "Word accuracy of all sentences",
        "Share of the words of all sentences after the last row whose tag is right: WA = right words / words.",
        "word_tags",
    ),
    _of_all_examples(
        "mean_iou",
        "mIoU",
        "Mean IoU of all images",
        "Mean over the classes that occur of the intersection over union of all test images after the last row: "
        "mIoU = mean over c of TP_c / (TP_c + FP_c + FN_c).",
        "pixel_counts",
    ),
    _of_all_examples(
        "foreground_iou",
        "mIoU fg",
        "Mean IoU of all images without the background",
        "Mean over the classes that occur but the first one, the background, of the intersection over union of all "
        "test images after the last row: mIoU fg = mean over c > 0 of TP_c / (TP_c + FP_c + FN_c).",
        "pixel_counts",
    ),
    _of_all_examples(
        "pixel_accuracy",
        "PA",
        "Pixel accuracy of all images",
        "Share of the pixels of all test images after the last row that are right: PA = (sum over c of TP_c) / pixels.",
        "pixel_counts",
    ),
    _of_all_examples(
        "outlier_ap",
        "AP",
        "Average precision of outliers",
        "Mean precision over the pixels of outliers, each at its own outlier score: AP = sum over thresholds of "
        "(recall - recall before) * precision.",
        "pixel_counts",
    ),
    _of_all_examples(
        "outlier_fpr95",
        "FPR95",
        "False alarms where 95% of the outliers are found",
        "Share of the other pixels above the threshold above which 95% of the pixels of outliers are.",
        "pixel_counts",
    ),
    _of_all_examples(
        "outlier_auroc",
        "AUROC",
        "AUROC of outliers",
        "Probability that a pixel of an outlier has a higher outlier score than another one, equal ones counting half.",
        "pixel_counts",
    ),
    _of_all_examples(
        "outlier_f1",
        "F1*",
        "F1 of outliers as objects",
        "F1 of connected components, the mean over the levels 0.25, 0.30, ..., 0.75: a true one counts as found where "
        "its sIoU is above the level, and one that is seen as false where its PPV is not.",
        "pixel_counts",
    ),
    _of_all_examples(
        "outlier_siou",
        "sIoU",
        "sIoU of outliers as objects",
        "Mean over the true components of their intersection over union with those seen that meet them, pixels of "
        "other true components left out.",
        "pixel_counts",
    ),
    _of_all_examples(
        "outlier_ppv",
        "PPV",
        "PPV of outliers as objects",
        "Mean over the components that are seen of the share of their pixels that are outliers.",
        "pixel_counts",
    ),
    _of_all_examples(
        "micro_f1",
        "micro-F1",
        "Micro-F1 of all examples",
        "F1 of all labels of all test examples after the last row: "
        "micro-F1 = 2 sum TP / (2 sum TP + sum FP + sum FN), sums over labels and examples.",
        "label_scores",
    ),
    _of_all_examples(
        "mean_average_precision",
        "mAP",
        "Mean average precision of all examples",
        "Mean over the labels that a test example has of their average precision after the last row, equal scores "
        "counting together: mAP = mean over c of the sum over thresholds of (recall - recall before) * precision.",
        "label_scores",
    ),
    _of_all_examples(
        "mean_absolute_error",
        "MAE",
        "Mean absolute error of all examples",
        "Mean distance of the numbers that are predicted of all test examples after the last row from the true ones, "
        "in the unit of the data: MAE = mean over n of abs(prediction_n - target_n).",
        "predicted_numbers",
    ),
    _of_all_examples(
        "pearson",
        "r",
        "Pearson correlation of all examples",
        "Correlation of the numbers that are predicted of all test examples after the last row with the true ones: "
        "r = cov(prediction, target) / (sd(prediction) sd(target)).",
        "predicted_numbers",
    ),
    _of_all_examples(
        "spearman",
        "rho",
        "Spearman correlation of all examples",
        "Pearson correlation of the ranks, equal numbers having the mean of theirs.",
        "predicted_numbers",
    ),
)
"""Metrics of what is measured per example where that is no ranking of classes."""


def _cost(name: str, title: str, unit: str) -> Further:
    """A number of `RunCost`."""

    def spent(_: Matrix, cost: object, __: Better) -> float:
        value: float | None = getattr(cost, name)
        if value is None:
            raise MetricError("was not measured in this run")
        return float(value)

    text = f"{title} of the whole run, see `costs.json`."
    return Further(name, name, title, text, "cost", spent, Score(name, unit, "lower", 0.0))


COSTS = (
    _cost("seconds", "Seconds of training", "seconds"),
    _cost("flops", "Floating-point operations of training", "operations"),
    _cost("energy_joules", "Energy of training", "joules"),
    _cost("trainable_parameters", "Trainable parameters, most of any task", "parameters"),
    _cost("stored_bytes", "Bytes kept to predict", "bytes"),
    _cost("strategy_seconds", "Seconds of strategies", "seconds"),
)
"""What a run cost, as metrics: they can be optimised and tested as any other."""


def further_metrics(score: Score) -> tuple[Further, ...]:
    """Return every metric that needs more than the matrix, in the words of a score, in the order of tables.

    Args:
        score: what a cell of the matrix is; accuracies are told of classes, other scores of every kind of record.
    """
    if score.better == "higher":
        below, minus, speed = "below", "a*_k − R[k,k]", "first s with v_j(s) ≥ 0.9 max v_j"
        gained = "R[t,t] − R_single[t]"
    else:
        below, minus, speed = "above", "R[k,k] − a*_k", "first s with 0.9 v_j(s) ≤ min v_j"
        gained = "R_single[t] − R[t,t]"
    compared = (
        Further(
            "intransigence",
            "I",
            "Intransigence",
            f"How far a task just learned stays {below} joint training: I = mean over k of {minus}.",
            "joint",
            intransigence,
            score.change("intransigence", "lower"),
        ),
        Further(
            "forward_transfer_of_learning",
            "FWT_learn",
            "Forward transfer of learning",
            f"How much better a task is learned after the others than alone: FWT_learn = mean over t of {gained}.",
            "single",
            forward_transfer_of_learning,
            score.change("forward_transfer_of_learning"),
        ),
    )
    speeds = (
        Further(
            "learning_speed",
            "S90",
            "Learning speed",
            f"Mean over the tasks of the optimizer steps until 90 % of the best validation {score.title} of the task: "
            f"S90 = mean over j of the {speed}.",
            "curves",
            lambda _, points, better: learning_speed(points, better),
            Score("learning_speed", "steps", "lower", 0.0),
        ),
    )
    if score == ACCURACY:
        return (*_POOLED, *compared, *_OF_CLASSES, *speeds)
    return (*compared, *_OF_CLASSES, *OF_KINDS, *speeds)


FURTHER = further_metrics(ACCURACY)
"""Those of accuracies, in the order in which tables show them."""

SYMBOLS = {
    **{definition.name: definition.symbol for definition in METRICS},
    **{definition.name: definition.symbol for definition in FURTHER},
}
"""The symbol of every metric of accuracies by its name: first those of the matrix."""
