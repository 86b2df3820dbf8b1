"""Every metric of one matrix or run at once, ours and what others print under the same names: text and JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from plora.atomic import JsonValue
from plora.errors import did_you_mean
from plora.results.comparison.comparable import require_comparable
from plora.results.comparison.doubts import split_doubts
from plora.results.metrics.classification import ClassScore, class_scores
from plora.results.metrics.further import Needs, further_metrics
from plora.results.metrics.pooled import pooled_seen_accuracy
from plora.results.metrics.variants import Variant, variants
from plora.results.record.class_rankings import ClassRankings
from plora.results.record.curves import Point, read_curves
from plora.results.record.found_runs import curves_file, predictions_file
from plora.results.record.kinds import MEASUREMENTS, read_measurements
from plora.results.record.matrix import Matrix, MetricError
from plora.results.record.matrix_file import MatrixFile, read_matrix, read_row
from plora.results.record.matrix_metrics import Metric, summary
from plora.results.record.measurements import Measurements
from plora.results.record.run_record import RESULTS_FILE, RunRecord, read_record
from plora.results.record.score import ACCURACY, NOT_APPLICABLE, SCORES, Score
from plora.results.tables.table import markdown_table
from plora.shown import markdown_cell, markdown_text
from plora.streams.base import Scenario

_DISAGREES = 0.005 / 100
"""What two decimals of a percentage can show."""
_DISAGREES_ELSE = 0.5e-3
"""What three decimals can show."""


@dataclass(frozen=True)
class AllMetrics:
    """What `plora metrics` prints.

    Args:
        source: the file or run folder.
        tasks: T names in the order learned.
        metrics: ours, each with a value or the reason why it has none.
        variants: what others print.
        classes: the scores per class; empty where there are no predictions.
        score: what a cell of the matrix is.
        notes: what a reader should know, one line each.
    """

    source: str
    tasks: tuple[str, ...]
    metrics: tuple[Metric, ...]
    variants: tuple[Variant, ...]
    classes: tuple[ClassScore, ...]
    notes: tuple[str, ...]
    score: Score = ACCURACY

    def markdown(self) -> str:
        """Return the tables, percentages and points with two decimals, and below them the reasons."""
        parts = [f"{markdown_text(self.source)}: {len(self.tasks)} task{'s' if len(self.tasks) != 1 else ''}\n"]
        rows = [[m.title, m.symbol, _shown(m.value, m.score), m.score.unit] for m in self.metrics]
        parts.append(markdown_table(["metric", "symbol", "value", "unit"], rows))
        change = self.score.change("difference")
        parts.append(
            f"What others print under these names, and how far it is from the value above, in {change.unit}:\n"
        )
        rows = [[_whose(v), _shown(v.value, change), _signed(v.difference, change)] for v in self.variants]
        parts.append(markdown_table(["printed by", "value", "difference"], rows))
        parts.append("".join(line + "\n" for line in self.disagreements()))
        if self.classes:
            scores = [
                [c.name, str(c.id), *(_shown(x, ACCURACY) for x in (c.precision, c.recall, c.f1)), str(c.support)]
                for c in self.classes
            ]
            parts.append(markdown_table(["class", "id", "precision %", "recall %", "F1 %", "examples"], scores))
        reasons: dict[str, list[str]] = {}
        for metric in self.metrics:
            if metric.reason is not None:
                reasons.setdefault(metric.reason, []).append(metric.symbol)
        for variant in self.variants:
            if variant.reason is not None:
                reasons.setdefault(variant.reason, []).append(_whose(variant))
        lines = [f"n/a ({'; '.join(symbols)}): {reason}" for reason, symbols in reasons.items()]
        parts.append("".join(markdown_cell(line) + "\n" for line in [*lines, *self.notes]))
        formulas = [f"- {metric.definition}" for metric in self.metrics]
        formulas += [f"- {_whose(variant)}: {variant.formula}." for variant in self.variants]
        parts.append(f"T tasks; R[i,j] is the {self.score.title} on task j after learning task i.\n")
        if self.score.better == "lower":
            parts.append("Lower is better: in what others print, R[i,j] stands for its negative.\n")
        parts.append("".join(line + "\n" for line in formulas))
        return "\n".join(part for part in parts if part)

    def disagreements(self) -> list[str]:
        """Return one line per metric whose definitions disagree on this matrix: by how much at most."""
        lines, change = [], self.score.change("difference")
        for symbol in dict.fromkeys(variant.symbol for variant in self.variants):
            values = {
                v.printed_by: v.difference
                for v in self.variants
                if v.symbol == symbol and v.difference is not None and not v.artefact
            }
            own = next(m.value for m in self.metrics if m.symbol == symbol)
            if own is None or not values:
                continue
            spread = max(0.0, *values.values()) - min(0.0, *values.values())
            if spread < (_DISAGREES if self.score.percent else _DISAGREES_ELSE):
                lines.append(f"{symbol}: all definitions agree on this matrix.")
            else:
                far = max(values, key=lambda name: abs(values[name]))
                lines.append(
                    f"{symbol}: definitions disagree by up to {_shown(spread, change)} {change.unit}; "
                    f"farthest from ours is {far} ({_shown(own + values[far], change)} against {_shown(own, change)})."
                )
        return lines

    def to_json(self) -> dict[str, JsonValue]:
        """Return the same as strict JSON: values are fractions (S90: steps), null where there is none.

        Of a score that is no percentage they are in its unit.
        """
        classes: list[JsonValue] = [
            {key: None if value != value else value for key, value in asdict(score).items()} for score in self.classes
        ]
        return {
            "source": self.source,
            "tasks": list(self.tasks),
            "metrics": {
                m.name: {"symbol": m.symbol, "value": m.value, "reason": m.reason, "definition": m.definition}
                for m in self.metrics
            },
            "variants": [asdict(variant) for variant in self.variants],
            "classes": classes,
            "notes": list(self.notes),
        }


def metrics_of_matrix(
    matrix: MatrixFile,
    source: str,
    scenario: Scenario | None = None,
    sizes: Sequence[int] | None = None,
    joint: Matrix | None = None,
    single: Matrix | None = None,
    predictions: Measurements | None = None,
    curves: Sequence[Point] | None = None,
    score: Score = ACCURACY,
) -> AllMetrics:
    """Return every metric of one matrix.

    Args:
        matrix: the names and the cells.
        source: what to call it.
        scenario: where said; FWT has a meaning in `domain` alone.
        sizes: test examples per task, for what is pooled.
        joint: `[T]`, see `intransigence`.
        single: `[T]`, see `forward_transfer_of_learning`.
        predictions: what was measured per example after the last row, for F1, calibration and the like.
        curves: for the learning speed.
        score: what a cell of the matrix is.

    Raises:
        MetricError: `sizes`, `joint` or `single` do not fit the tasks.
    """
    R = matrix.matrix
    if sizes is not None:
        pooled_seen_accuracy(R, sizes)  # refuses sizes that do not fit
    for reference, what in ((joint, "joint training"), (single, "tasks learned alone")):
        if reference is not None and len(reference) != len(matrix.tasks):
            raise MetricError(f"the reference of {what} has {len(reference)} tasks, {source} has {len(matrix.tasks)}")
    given: Mapping[Needs, object] = {
        "sizes": sizes,
        "joint": joint,
        "single": single,
        "class_rankings": predictions,
        "token_likelihoods": predictions,
        "pixel_counts": predictions,
        "label_scores": predictions,
        "predicted_numbers": predictions,
        "word_tags": predictions,
        "curves": curves,
    }
    further = [definition.metric(R, given[definition.needs], score) for definition in further_metrics(score)]
    rankings = predictions if isinstance(predictions, ClassRankings) else None
    if score != ACCURACY:  # of the kinds of records, what this run has
        kind = None if predictions is None else predictions.kind
        further = [
            metric
            for metric, definition in zip(further, further_metrics(score), strict=True)
            if definition.needs not in MEASUREMENTS or definition.needs == kind
        ]
    return AllMetrics(
        source,
        matrix.tasks,
        (*summary(R, scenario, score).values(), *further),
        variants(R, scenario, score),
        class_scores(rankings) if rankings is not None and len(rankings) else (),
        matrix.notes,
        score,
    )


def metrics_of_path(
    path: Path,
    percent: bool = False,
    scenario: Scenario | None = None,
    sizes: Sequence[int] | None = None,
    joint: Path | None = None,
    single: Path | None = None,
    header: bool | None = None,
    row_names: bool | None = None,
    score: str | None = None,
) -> AllMetrics:
    """Return every metric of a CSV file or a run folder.

    A run brings its score, scenario, test sizes and predictions with it. A reference is a run folder or a CSV file,
    read with the same `percent` and `score`: one line of T numbers, or a matrix. Of a matrix or run, `joint` is its
    last row and `single` its diagonal.

    Args:
        path: a CSV file or a run folder.
        percent, header, row_names: as in `read_matrix`; for files.
        scenario, sizes: as in `metrics_of_matrix`; for files.
        joint, single: references.
        score: name in `SCORES` of what a cell of a file is; None is accuracy.

    Raises:
        MetricError: an option does not fit, or the file is no accuracy matrix; one line.
        RunError: the run is damaged, or a reference run is not comparable.
    """
    record = _run(path)
    predictions, curves = None, None
    cell = _score(score) if record is None else record.score
    if record is not None:
        options = (("--percent", percent), ("--scenario", scenario), ("--sizes", sizes), ("--score", score))
        for option, given in options:
            if given:
                raise MetricError(f"{path} is a run, which says this itself; leave out {option}")
        matrix = MatrixFile(record.tasks, record.matrix, _notes(record))
        scenario = record.scenario
        folder = path.parent if path.name == RESULTS_FILE else path
        file = predictions_file(folder, record)
        predictions = read_measurements(file) if file is not None else None
        drawn = curves_file(folder)
        curves = read_curves(drawn) if drawn is not None else None
        sizes = record.sizes
    else:
        matrix = read_matrix(path, percent, header, row_names, cell)
    return metrics_of_matrix(
        matrix,
        str(path),
        scenario,
        sizes,
        _reference(joint, record, percent, cell, last_row=True) if joint else None,
        _reference(single, record, percent, cell, last_row=False) if single else None,
        predictions,
        curves,
        cell,
    )


def _score(name: str | None) -> Score:
    if name is None:
        return ACCURACY
    if name not in SCORES:
        raise MetricError(f"--score: unknown score '{name}'{did_you_mean(name, SCORES)} (scores: {', '.join(SCORES)})")
    return SCORES[name]


def _run(path: Path) -> RunRecord | None:
    if path.is_dir() or path.name == RESULTS_FILE:
        return read_record(path)
    return None


def _notes(record: RunRecord) -> tuple[str, ...]:
    learned = sum(status != "pending" for status in record.status)
    unfinished = f"This run is unfinished: {learned} of {len(record.tasks)} tasks learned."
    return (*([] if record.complete else [unfinished]), *split_doubts([record]))


def _reference(path: Path, run: RunRecord | None, percent: bool, score: Score, last_row: bool) -> Matrix:
    record = _run(path)
    if record is not None:
        if run is not None:
            require_comparable([run, record])
        elif record.score != score:
            raise MetricError(f"{path} measured {record.score.title}, and the file's cells are {score.title}")
        R = record.matrix
    else:
        row = read_row(path, percent, score)
        if row is not None:
            return row
        R = read_matrix(path, percent, score=score).matrix
    return R[-1] if last_row else R[1:].diagonal()


def _shown(value: float | None, score: Score) -> str:
    if value is None or np.isnan(value):
        return NOT_APPLICABLE
    return score.text(value, 2 if score.percent else None)


def _whose(variant: Variant) -> str:
    return f"{variant.symbol} of {variant.printed_by}" + (" (artefact)" if variant.artefact else "")


def _signed(difference: float | None, score: Score) -> str:
    shown = _shown(difference, score)
    return "+" + shown if difference is not None and float(shown) > 0 else shown
