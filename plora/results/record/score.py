"""What a number of a run is: its name, its unit, which way is better, and its range.

A cell of the matrix is one of these, and so is what is computed from the matrix: forgetting is a score too, in points
where cells are percentages. Everything that concludes asks the score, so that nothing else knows an accuracy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict

from plora.atomic import JsonValue
from plora.errors import RunError

Better = Literal["higher", "lower"]

PERCENT, POINTS = "%", "points"
"""Units of a fraction, and of a difference of two, which people read times 100."""

_DECIMALS = {PERCENT: 1, POINTS: 1, "steps": 1, "seconds": 1}
_WHOLE = ("parameters", "bytes", "operations", "examples")
_OTHER_DECIMALS = 3
_LONGEST = 100

NOT_MEASURED, NOT_APPLICABLE = "–", "n/a"


def _unbounded(end: float) -> BeforeValidator:
    """JSON knows no infinity: null is a range without that end."""
    return BeforeValidator(lambda value: end if value is None else value)


@dataclass(frozen=True)
class Score:
    """What a number is.

    Args:
        name: in lower case, words parted by `_`, such as `nats_per_byte`.
        unit: as people write it; `%` is a fraction that is shown in percent, empty where there is none.
        better: which way is better.
        low, high: the range, both ends included; infinite where there is no end.

    Raises:
        RunError: there is no name, or a very long one, no such way, or the range is empty.
    """

    name: str
    unit: str
    better: Better
    low: Annotated[float, _unbounded(-np.inf)] = -np.inf
    high: Annotated[float, _unbounded(np.inf)] = np.inf

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    def __post_init__(self) -> None:
        if not self.name:
            raise RunError("score: it has no name; give it one, such as mean_absolute_error")
        if (longest := max(len(self.name), len(self.unit))) > _LONGEST:  # a picture of one would take minutes
            raise RunError(f"score: name or unit has {longest} characters; expected at most {_LONGEST}")
        if self.better not in get_args(Better):
            raise RunError(f"score '{self.name}': better is '{self.better}'; expected 'higher' or 'lower'")
        if not self.low < self.high:
            raise RunError(f"score '{self.name}': its range is empty, from {self.low:g} to {self.high:g}")

    @property
    def title(self) -> str:
        """The name in words."""
        return _TITLES.get(self.name, self.name.replace("_", " "))

    @property
    def label(self) -> str:
        """The name in words, with the unit where the name does not say it: "accuracy (%)", "nats per byte"."""
        return self.title if self.unit in ("", self.title) else f"{self.title} ({self.unit})"

    @property
    def percent(self) -> bool:
        """Whether it is a fraction, or a difference of two, that people read times 100."""
        return self.unit in (PERCENT, POINTS)

    @property
    def factor(self) -> float:
        """What a value is multiplied with before people see it: 100 or 1."""
        return 100.0 if self.percent else 1.0

    @property
    def sign(self) -> int:
        """1 where higher is better, −1 where lower is."""
        return 1 if self.better == "higher" else -1

    @property
    def end(self) -> Literal["highest", "lowest"]:
        """Which value is best."""
        return "highest" if self.better == "higher" else "lowest"

    @property
    def of_differences(self) -> str:
        """The unit of a difference of two: "points" of percentages."""
        return POINTS if self.unit == PERCENT else self.unit

    def change(self, name: str, better: Better = "higher") -> "Score":
        """Return what a difference of two values is: in the same unit, or points, and without an end."""
        return Score(name, self.of_differences, better)

    def improvement(self, new: float, old: float) -> float:
        """Return by how much `new` is better than `old`; negative where it is worse."""
        return self.sign * (new - old)

    def best(self, values: Iterable[float]) -> float | None:
        """Return the best of some values, NaN left out; None where there is none."""
        known = [value for value in values if not np.isnan(value)]
        return max(known, key=lambda value: self.sign * value, default=None)

    def text(self, value: float | None, decimals: int | None = None) -> str:
        """Return a value as people read it: "73.3" of a percentage, "1.234" of nats, "n/a" for None, "–" for NaN.

        Args:
            value: as it is in the record, percentages as fractions.
            decimals: of the number shown; by default 1 of percentages and steps, none of what is counted, else 3.
        """
        if value is None:
            return NOT_APPLICABLE
        if np.isnan(value):
            return NOT_MEASURED
        if decimals is None:
            decimals = _DECIMALS.get(self.unit, 0 if self.unit in _WHOLE else _OTHER_DECIMALS)
        return f"{round(self.factor * value, decimals) + 0.0:{',' if self.unit in _WHOLE else ''}.{decimals}f}"

    def with_unit(self, value: float, decimals: int | None = None) -> str:
        """Return a value with its unit in running text: "80.0%", "1.234 nats per byte"."""
        space = "" if self.unit in (PERCENT, "") else " "
        return f"{self.text(value, decimals)}{space}{self.unit}"

    def require(self, cells: NDArray[np.float64], what: str = "matrix") -> None:
        """Refuse values outside the range; NaN is inside.

        Raises:
            RunError: names the score, its range and the first value outside.
        """
        outside = cells[(cells < self.low) | (cells > self.high)]
        if not len(outside):
            return
        if self.percent:
            raise RunError(f"{what}: {self._one} is a fraction from 0 to 1, got a cell outside; percentages?")
        span = f"from {self.low:g} up" if np.isinf(self.high) else f"from {self.low:g} to {self.high:g}"
        raise RunError(f"{what}: {self.title} goes {span}, got a cell of {outside[0]:g}")

    @property
    def _one(self) -> str:
        return f"{'an' if self.title[0] in 'aeio' else 'a'} {self.title}"

    def to_json(self) -> dict[str, JsonValue]:
        """Return the score as strict JSON: null for an end that there is not."""
        content: dict[str, JsonValue] = asdict(self)
        return content | {key: None if np.isinf(end) else end for key, end in (("low", self.low), ("high", self.high))}


_TITLES = {
    "macro_f1": "macro-F1",
    "entity_f1": "entity F1",
    "entity_f1_strict": "strict entity F1",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "micro_f1": "micro-F1",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "mean_iou": "mean IoU",
    "foreground_iou": "foreground IoU",
    "outlier_ap": "outlier AP",
    "outlier_auroc": "outlier AUROC",
    "outlier_fpr95": "outlier FPR95",
    "outlier_f1": "outlier F1*",
    "outlier_siou": "outlier sIoU",
    "outlier_ppv": "outlier PPV",
}

SCORES: Mapping[str, Score] = {
    score.name: score
    for score in (
        Score("accuracy", PERCENT, "higher", 0.0, 1.0),
        Score("macro_f1", PERCENT, "higher", 0.0, 1.0),
        Score("entity_f1", PERCENT, "higher", 0.0, 1.0),
        Score("entity_f1_strict", PERCENT, "higher", 0.0, 1.0),
        Score("word_accuracy", PERCENT, "higher", 0.0, 1.0),
        Score("micro_f1", PERCENT, "higher", 0.0, 1.0),
        Score("mean_average_precision", PERCENT, "higher", 0.0, 1.0),
        Score("mean_iou", PERCENT, "higher", 0.0, 1.0),
        Score("foreground_iou", PERCENT, "higher", 0.0, 1.0),
        Score("pixel_accuracy", PERCENT, "higher", 0.0, 1.0),
        Score("outlier_ap", PERCENT, "higher", 0.0, 1.0),
        Score("outlier_auroc", PERCENT, "higher", 0.0, 1.0),
        Score("outlier_fpr95", PERCENT, "lower", 0.0, 1.0),
        Score("outlier_f1", PERCENT, "higher", 0.0, 1.0),
        Score("outlier_siou", PERCENT, "higher", 0.0, 1.0),
        Score("outlier_ppv", PERCENT, "higher", 0.0, 1.0),
        Score("exact_match", PERCENT, "higher", 0.0, 1.0),
        Score("rouge_1", PERCENT, "higher", 0.0, 1.0),
        Score("rouge_2", PERCENT, "higher", 0.0, 1.0),
        Score("rouge_l", PERCENT, "higher", 0.0, 1.0),
        Score("nats_per_byte", "nats per byte", "lower", 0.0),
        Score("nats_per_token", "nats per token", "lower", 0.0),
        Score("perplexity", "", "lower", 1.0),
        Score("mean_absolute_error", "", "lower", 0.0),
        Score("pearson", "", "higher", -1.0, 1.0),
        Score("spearman", "", "higher", -1.0, 1.0),
    )
}
"""The scores that plora computes itself; a problem may bring another one, which its record then holds whole."""

ACCURACY = SCORES["accuracy"]
