"""The sufficient record of a classification run: one row per test example, from which every score is
recomputed.

`predictions/task-03.parquet` holds what the network said after task 3. Columns: `task` (string), `example`
(int32, position in the test split), `label` and `prediction` (int32, global class ids), `probability`
(float32, of the prediction). The key `plora.class_names` of the file's metadata is a JSON list: the name of
each global class id.
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
from plora.results.metrics import Matrix

CLASS_NAMES_KEY = b"plora.class_names"
_TYPES = {"example": np.int32, "label": np.int32, "prediction": np.int32, "probability": np.float32}


@dataclass(frozen=True, eq=False)
class Predictions:
    """N test examples of one or more tasks, after one row of the matrix.

    Args:
        task: `[N]` strings, the task of each example.
        example: `[N]` int32, its position in the test split of its task.
        label: `[N]` int32, its true class, an index into `class_names`.
        prediction: `[N]` int32, the class predicted.
        probability: `[N]` float32, the probability given to the class predicted, 0 to 1.
        class_names: the name of each global class id; a name may occur in more than one task.

    Raises:
        RunError: the columns differ in length, or a class id or probability is out of range.
    """

    task: NDArray[np.str_]
    example: NDArray[np.int32]
    label: NDArray[np.int32]
    prediction: NDArray[np.int32]
    probability: NDArray[np.float32]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("task", *_TYPES)}
        if len(set(lengths.values())) > 1:
            raise RunError(f"predictions: columns differ in length: {lengths}")
        if not len(self):
            return
        for name, ids in (("label", self.label), ("prediction", self.prediction)):
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= len(self.class_names):
                raise RunError(
                    f"predictions: {name} ids run from {low} to {high}, but there are {len(self.class_names)} classes"
                )
        if not bool(((self.probability >= 0) & (self.probability <= 1.0001)).all()):  # float32 softmax may exceed 1
            raise RunError("predictions: a probability is NaN or outside 0 to 1")

    def __len__(self) -> int:
        return len(self.task)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the record to a parquet file, atomically."""
    columns = {"task": pa.array(predictions.task.tolist(), pa.string())}
    for name, dtype in _TYPES.items():
        columns[name] = pa.array(np.asarray(getattr(predictions, name), dtype=dtype))
    metadata = {CLASS_NAMES_KEY: json.dumps(predictions.class_names)}
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
        class_names = json.loads((table.schema.metadata or {})[CLASS_NAMES_KEY])
        columns = {name: table.column(name).to_numpy() for name in ("task", *_TYPES)}
        texts = pa.types.is_string(table.schema.field("task").type) and not table.column("task").null_count
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; this run has no predictions after that task") from None
    except KeyError as error:
        raise RunError(f"{path} is not a record of predictions: it has no {error}") from None
    except (pa.ArrowException, OSError, TypeError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from None
    for name, dtype in _TYPES.items():
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
            prediction=columns["prediction"],
            probability=columns["probability"],
            class_names=tuple(class_names),
        )
    except RunError as error:
        raise RunError(f"{path}: {error}") from None


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
