"""The sufficient record of a classification run: one row per test example, from which every score is
recomputed.

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

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from plora.atomic import atomic_path
from plora.errors import RunError
from plora.results.record.matrix import Matrix

CLASS_NAMES_KEY, SCHEMA_KEY = b"plora.class_names", b"plora.schema"
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
class Predictions:
    """N test examples of one or more tasks, after one row of the matrix.

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

    def __len__(self) -> int:
        return len(self.task)

    @property
    def prediction(self) -> NDArray[np.int32]:
        """The class predicted, `[N]`."""
        return self.ranking[:, 0]

    @property
    def probability(self) -> NDArray[np.float32]:
        """The probability given to the class predicted, `[N]`."""
        return self.probabilities[:, 0]


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the record to a parquet file, atomically."""
    columns = {"task": pa.array(predictions.task.tolist(), pa.string())}
    for name, dtype in _TYPES.items():
        columns[name] = pa.array(np.ascontiguousarray(getattr(predictions, name), dtype=dtype))
    for rank in range(1, RANKS):
        prediction, probability = _names(rank)
        columns[prediction] = pa.array(np.ascontiguousarray(predictions.ranking[:, rank], dtype=np.int32))
        columns[probability] = pa.array(np.ascontiguousarray(predictions.probabilities[:, rank], dtype=np.float32))
    metadata = {CLASS_NAMES_KEY: json.dumps(predictions.class_names), SCHEMA_KEY: str(SCHEMA)}
    table = pa.table(columns).replace_schema_metadata(metadata)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_predictions(path: Path) -> Predictions:
    """Read and check a record that `write_predictions` wrote.

    Raises:
        RunError: the file is missing or damaged, a column is missing or has another type, a value is out of range.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        table.validate(full=True)
        metadata = table.schema.metadata or {}
        schema = metadata.get(SCHEMA_KEY, b"1")
        if schema not in (b"1", str(SCHEMA).encode()):
            raise RunError(
                f"{path} has schema {schema.decode(errors='replace')}, "
                f"this version of plora reads schemas 1 and {SCHEMA}"
            )
        class_names = json.loads(metadata[CLASS_NAMES_KEY])
        next_types = _next_types() if schema != b"1" else {}
        columns = {name: table.column(name).to_numpy() for name in ("task", *_TYPES, *next_types)}
        texts = pa.types.is_string(table.schema.field("task").type) and not table.column("task").null_count
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; this run has no predictions after that task") from None
    except KeyError as error:
        raise RunError(f"{path} is not a record of predictions: it has no {error}") from None
    except (pa.ArrowException, OSError, TypeError, ValueError, RecursionError) as error:
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
        return Predictions(
            task=columns["task"].astype(np.str_),
            example=columns["example"],
            label=columns["label"],
            ranking=np.stack([columns[name] for name in columns if name.startswith("prediction")], axis=1),
            probabilities=np.stack([columns[name] for name in columns if name.startswith("probability")], axis=1),
            class_names=tuple(class_names),
        )
    except RunError as error:
        raise RunError(f"{path}: {error}") from None


def _names(rank: int) -> tuple[str, str]:
    """Return the columns of the class of a rank, 1 being the one after the prediction."""
    return f"prediction_{rank + 1}", f"probability_{rank + 1}"


def _next_types() -> _Types:
    types: _Types = {}
    for rank in range(1, RANKS):
        prediction, probability = _names(rank)
        types |= {prediction: np.int32, probability: np.float32}
    return types


def accuracy_row(predictions: Predictions, tasks: Sequence[str]) -> Matrix:
    """Return `[T]` float64: the accuracy on each task, one row of the matrix; NaN for a task without
    examples.

        R[i, j] = share of the test examples of task j whose prediction equals the label

    Args:
        predictions: after task i.
        tasks: all T task names, in the order of the matrix's columns.

    Raises:
        RunError: the predictions name a task that is not in `tasks`.
    """
    unknown = sorted(set(predictions.task.tolist()) - set(tasks))
    if unknown:
        raise RunError(f"predictions name the task '{unknown[0]}', the run has: {', '.join(tasks)}")
    correct = predictions.label == predictions.prediction
    row = np.full(len(tasks), np.nan)
    for column, task in enumerate(tasks):
        chosen = predictions.task == task
        if chosen.any():
            row[column] = correct[chosen].mean()
    return row
