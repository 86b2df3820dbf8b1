"""What a network took examples for: the record of a classification run, one row per example.

`predictions/task-03.parquet` holds what the network said after task 3. Columns: `task` (string), `example`
(int32, position in the split that was scored), `label` and `prediction` (int32, global class ids), `probability`
(float32, of the prediction), and for the next likeliest classes `prediction_2`, `probability_2` and so on to
`prediction_5`, `probability_5`; where fewer classes compete, class −1 with probability 0. The key
`plora.class_names` of the file's metadata is a JSON list: the name of each global class id. `plora.schema` is 2;
a file without it has schema 1, in which the next classes are not kept.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plora.errors import RunError
from plora.results.record.columns import CLASS_NAMES_KEY, SCHEMA_KEY, metadata_of, read_table, write_columns
from plora.results.record.measurements import Chosen, Measurements, Which
from plora.results.record.score import Score
from plora.sealed import Identity

SCHEMA = 2
RANKS = 5
"""Classes kept per example, the likeliest first."""
_Types = dict[str, type[np.int32] | type[np.float32]]
_TYPES: _Types = {
    "example": np.int32,
    "label": np.int32,
    "prediction": np.int32,
    "probability": np.float32,
}


@dataclass(frozen=True, eq=False)
class ClassRankings(Measurements):
    """N examples of one or more tasks, after one row of the matrix.

    Args:
        task: `[N]` strings, the task of each example.
        example: `[N]` int32, its position in the split of its task that was scored.
        label: `[N]` int32, its true class, an index into `class_names`.
        ranking: `[N, K ≤ 5]` int32, the likeliest classes, the one predicted first; afterwards `[N, 5]`, with −1 where
            no more compete or none were kept.
        probabilities: the same of float32: theirs, 0 to 1 and not rising; 0 where there is no class.
        class_names: the name of each global class id; a name may occur in more than one task.

    Raises:
        RunError: the columns differ in length, or a class id or probability is out of range.
    """

    kind: ClassVar[str] = "class_rankings"
    scores: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")

    task: NDArray[np.str_]
    example: NDArray[np.int32]
    label: NDArray[np.int32]
    ranking: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("task", "example", "label", "ranking", "probabilities")}
        if len(set(lengths.values())) > 1:
            raise RunError(f"predictions: columns differ in length: {lengths}")
        shape = self.ranking.shape
        if len(shape) != 2 or shape != self.probabilities.shape or not 1 <= shape[1] <= RANKS:
            shapes = f"{list(shape)} and {list(self.probabilities.shape)}"
            raise RunError(f"predictions: ranking and probabilities are both [N, 1 to {RANKS}], got {shapes}")
        for name, missing in (("ranking", -1), ("probabilities", 0)):
            widened = np.pad(getattr(self, name), ((0, 0), (0, RANKS - shape[1])), constant_values=missing)
            object.__setattr__(self, name, widened)
        if not len(self):
            return
        for name, ids in (
            ("label", self.label),
            ("prediction", self.prediction),
            ("next prediction", np.maximum(self.ranking, 0)),
        ):
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= len(self.class_names):
                raise RunError(
                    f"predictions: {name} ids run from {low} to {high}, but there are {len(self.class_names)} classes"
                )
        p = self.probabilities
        if not bool(((p >= 0) & (p <= 1.0001)).all()):  # float32 softmax may exceed 1
            raise RunError("predictions: a probability is NaN or outside 0 to 1")
        if bool((np.diff(p, axis=1) > 0).any()) or int(self.ranking.min()) < -1:
            raise RunError("predictions: the likeliest classes do not stand first, or a class id is below -1")

    def answers(self) -> NDArray[np.int32]:
        """Return the labels."""
        return self.label

    @property
    def prediction(self) -> NDArray[np.int32]:
        """The class predicted, `[N]`."""
        return self.ranking[:, 0]

    @property
    def probability(self) -> NDArray[np.float32]:
        """The probability given to the class predicted, `[N]`."""
        return self.probabilities[:, 0]

    def write(self, path: Path, of: Identity | None = None) -> None:
        """Write a parquet file, atomically."""
        columns = {"task": pa.array(self.task.tolist(), pa.string())}
        for name, dtype in _TYPES.items():
            columns[name] = pa.array(np.ascontiguousarray(getattr(self, name), dtype=dtype))
        for rank in range(1, RANKS):
            prediction, probability = _names(rank)
            columns[prediction] = pa.array(np.ascontiguousarray(self.ranking[:, rank], dtype=np.int32))
            columns[probability] = pa.array(np.ascontiguousarray(self.probabilities[:, rank], dtype=np.float32))
        write_columns(path, columns, {CLASS_NAMES_KEY: json.dumps(self.class_names), SCHEMA_KEY: str(SCHEMA)}, of)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a file that `write` wrote.

        Raises:
            RunError: the file is missing, damaged or changed, a column is missing or has another type, a value is out
                of range.
        """
        table = read_table(path)
        schema = metadata_of(table).get(SCHEMA_KEY, b"1")
        if schema not in (b"1", str(SCHEMA).encode()):
            raise RunError(
                f"{path} has schema {schema.decode(errors='replace')}, "
                f"this version of plora reads schemas 1 and {SCHEMA}"
            )
        try:
            class_names = json.loads(metadata_of(table)[CLASS_NAMES_KEY])
            next_types = _next_types() if schema != b"1" else {}
            columns = {name: table.column(name).to_numpy() for name in ("task", *_TYPES, *next_types)}
            texts = pa.types.is_string(table.schema.field("task").type) and not table.column("task").null_count
        except KeyError as error:
            raise RunError(f"{path} is not a record of predictions: it has no {error}") from None
        except (pa.ArrowException, TypeError, ValueError, RecursionError) as error:
            raise RunError(f"{path} is damaged: {error}") from None
        for name, dtype in (_TYPES | next_types).items():
            if columns[name].dtype != dtype:
                raise RunError(
                    f"{path} is not a record of predictions: column '{name}' is {columns[name].dtype}, "
                    f"expected {np.dtype(dtype)}"
                )
        if not texts or not isinstance(class_names, list) or not all(isinstance(name, str) for name in class_names):
            raise RunError(f"{path} is not a record of predictions: names of tasks and classes are texts")
        try:
            return cls(
                task=columns["task"].astype(np.str_),
                example=columns["example"],
                label=columns["label"],
                ranking=np.stack([columns[name] for name in columns if name.startswith("prediction")], axis=1),
                probabilities=np.stack([columns[name] for name in columns if name.startswith("probability")], axis=1),
                class_names=tuple(class_names),
            )
        except RunError as error:
            raise RunError(f"{path}: {error}") from None

    def rows(self, chosen: Which) -> Self:
        """Return some of the examples."""
        return type(self)(
            self.task[chosen],
            self.example[chosen],
            self.label[chosen],
            self.ranking[chosen],
            self.probabilities[chosen],
            self.class_names,
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the examples of several.

        Raises:
            RunError: there are none, or they have other classes.
        """
        if not parts:
            raise RunError("predictions: there is nothing to join")
        first = parts[0].class_names  # mostly the very same object, which need not be compared name by name
        if any(part.class_names is not first and part.class_names != first for part in parts):
            raise RunError("predictions: records of other classes cannot be joined")
        return cls(
            np.concatenate([part.task for part in parts]),
            np.concatenate([part.example for part in parts]),
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.ranking for part in parts]),
            np.concatenate([part.probabilities for part in parts]),
            first,
        )

    def f1(self) -> NDArray[np.float64]:
        """Return F1 of each class, `[C]`; NaN for classes that are neither a label nor a prediction.

        F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c)
        """
        C = len(self.class_names)
        hits = np.bincount(self.label[self.label == self.prediction], minlength=C)
        occurring = np.bincount(self.label, minlength=C) + np.bincount(self.prediction, minlength=C)
        found: NDArray[np.float64] = np.divide(2 * hits, occurring, out=np.full(C, np.nan), where=occurring > 0)
        return found

    def value(self, score: Score) -> float:
        """Return a score of all examples together.

            accuracy = share of the examples whose prediction equals the label
            macro-F1 = mean of F1_c over the classes that are a label or a prediction; see `f1`

        Raises:
            RunError: the score is none of these.
        """
        if score.name not in self.scores:
            raise self._unknown(score)
        if not len(self):
            return float("nan")
        if score.name == "accuracy":
            return float((self.label == self.prediction).mean())
        f1 = self.f1()
        return float(f1[~np.isnan(f1)].mean())

    def differs(self, other: Self) -> Chosen:
        """Return which examples have another prediction."""
        found: Chosen = self.prediction != other.prediction
        return found

    def farthest(self, other: Self) -> float:
        """Return the largest difference of a probability; of what this record does not hold, as of schema 1, none."""
        kept = self.ranking >= 0
        return float(np.abs(self.probabilities - other.probabilities)[kept].max(initial=0.0))


def _names(rank: int) -> tuple[str, str]:
    """Return the columns of the class of a rank, 1 being the one after the prediction."""
    return f"prediction_{rank + 1}", f"probability_{rank + 1}"


def _next_types() -> _Types:
    types: _Types = {}
    for rank in range(1, RANKS):
        prediction, probability = _names(rank)
        types |= {prediction: np.int32, probability: np.float32}
    return types
