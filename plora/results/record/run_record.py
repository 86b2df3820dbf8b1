"""The record of a run: everything that is concluded from it later, in two strict JSON files.

`results.json` holds what the same seed gives again bit for bit, `costs.json` what was measured along the way: time,
memory, bytes. Schema 4, key by key, is `RunRecord`, `StreamInfo`, `TaskCost` and `TaskData` below, plus `metrics`: the
values and reasons of `plora.results.summary`, written for people and other programs. Reading recomputes them
from the matrix and never trusts the copy. NaN is null. Keys that the schema does not have are refused, so that
a misspelt key cannot pass for a missing one; a newer schema is refused by its number. Both files carry their sha256,
and say which run they are of and how many tasks it had learned.

Schema 3 did not say whose it is, nor had it `predictions`. Schemas 1 and 2 had the name of the score alone, which was
accuracy. Schema 1 had no `split`, `gates`, `settings`, `flops`, `strategy_bytes` and `energy_joules`, and the first
files of schema 2 had no `rehearsed` and `strategy_seconds`; all are read, with the defaults below.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict, TypeAdapter
from pydantic import JsonValue as AnyJson

from plora.atomic import JsonValue
from plora.errors import RunError
from plora.regular import inside
from plora.results.record.identity import ENVIRONMENT_FILE, open_own, require_of, run_of
from plora.results.record.matrix import Matrix, MetricError, checked
from plora.results.record.matrix_metrics import Metric, summary
from plora.results.record.score import ACCURACY, SCORES, Score
from plora.results.record.slot_state import SlotState
from plora.sealed import Identity, fitted, open_sealed, write_sealed
from plora.streams.base import Scenario
from plora.streams.overlap import Overlaps

RESULTS_FILE, COSTS_FILE = "results.json", "costs.json"
SCHEMA = 4

ScoredSplit = Literal["test", "validation"]
TaskStatus = Literal["pending", "trained", "evaluated"]
"""`pending`: not learned yet; `trained`: learned, its row was not measured (each task of a joint run but the
last); `evaluated`: its row was measured."""

_STRICT = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)


@dataclass(frozen=True)
class StreamInfo:
    """Which stream, the sha256 of all that was in it, in its order, and what a reader should know of it, by subject."""

    name: str
    fingerprint: str
    notes: Mapping[str, str] = field(default_factory=dict)

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class TaskCost:
    """What learning one task cost; a joint run has one entry for all tasks.

    Args:
        task: the name of the task.
        seconds: wall time of its training, evaluation not included.
        steps: optimizer steps.
        epochs: passes over its data; a fraction when a limit on steps ended it.
        samples: training examples processed, counted once per epoch.
        tokens: tokens processed without padding; None where inputs have none.
        trainable_parameters: numbers that the optimizer could change during this task.
        stored_bytes: what the task added to what must be kept to predict, on disk.
        peak_memory_bytes: highest memory of the process or device during the task; None where not measured.
        flops: floating-point operations of training, those of the first step of each phase counted and the others
            estimated from its tokens; None where not recorded.
        strategy_bytes: what strategies remember after the task to protect older ones, on disk.
        energy_joules: that the device used during training, whatever ran on it; None where the hardware does not tell.
        rehearsed: examples that strategies trained on beside the batches, each as often as it was drawn; `samples` and
            `tokens` do not hold them. None where not recorded.
        strategy_seconds: those of `seconds` that went into strategies, in the main process: what they do before and
            after the task (Fisher information, answers of the old model, texts written), drawing what is rehearsed,
            its forward and backward passes, and penalties with theirs. Of terms of the batch it holds the computation
            alone, for their backward pass is one with the batch's. None where not recorded.
        kept_bytes: all that the run needs on disk after the task: to predict (slots, head, gate, a backbone that
            trains) and to go on learning (what strategies remember). What was replaced is not in it. None where not
            recorded.
    """

    task: str
    seconds: float
    steps: int
    epochs: float
    samples: int
    tokens: int | None
    trainable_parameters: int
    stored_bytes: int
    peak_memory_bytes: int | None = None
    flops: int | None = None
    strategy_bytes: int = 0
    energy_joules: float | None = None
    rehearsed: int | None = None
    strategy_seconds: float | None = None
    kept_bytes: int | None = None

    __pydantic_config__ = _STRICT

    @property
    def samples_per_second(self) -> float | None:
        """Training examples processed per second of training; None where it took no time."""
        return self.samples / self.seconds if self.seconds > 0 else None

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens, without padding, per second of training; None where there are none."""
        return self.tokens / self.seconds if self.tokens is not None and self.seconds > 0 else None


@dataclass(frozen=True)
class TaskData:
    """What one task was learned from.

    Args:
        task: the name of the task.
        classes: number of label names.
        train, validation, test: number of examples.
        truncated_share: share of its training inputs that were cut to the length limit, 0 to 1.
        test_duplicates: test inputs that also stand in train or validation.
        fingerprints: sha256 of each split by name.
        train_by_class: number of training examples of each class by its name, none where the answer is no class;
            None where not recorded.
        overlaps: of validation and test how many texts stand in earlier splits, of other tasks too, to the letter or
            nearly; None where nobody looked.
    """

    task: str
    classes: int
    train: int
    validation: int
    test: int
    truncated_share: float
    test_duplicates: int
    fingerprints: Mapping[str, str]
    train_by_class: Mapping[str, int] | None = None
    overlaps: Overlaps | None = None

    __pydantic_config__ = _STRICT


def _matrix_from_json(cells: list[list[float | None]] | Matrix) -> Matrix:
    if isinstance(cells, np.ndarray):
        return cells
    if not isinstance(cells, list) or not all(isinstance(row, list) for row in cells):
        raise ValueError("a matrix is a list of rows")
    for row in cells:
        for cell in row:
            if cell is not None and (isinstance(cell, bool) or not isinstance(cell, int | float)):
                raise ValueError(f"a cell is a number or null, got {cell!r}")
    return np.array(cells, dtype=np.float64)  # None becomes NaN; ragged rows raise ValueError


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One run: who, on what, with which scores, at which cost.

    Args:
        name: of the experiment.
        method: the row of the method table.
        method_summary: one sentence: what trains and what protects old knowledge.
        scenario: `task`, `class` or `domain`.
        stream: its name and fingerprint.
        seed: of the run.
        tasks: T names in the order in which they were learned, unique.
        matrix: `[T + 1, T]` float64, see `plora.results.record.matrix`; read-only after construction.
        status: T entries, one per task.
        cost, data: one entry per task (see `TaskCost`), those learned so far.
        warnings: what happened in the run that a reader should know, one line each.
        complete: every task was learned and the last row was measured.
        environment: path of the environment file, relative to the run folder.
        problem: what the labels look like.
        score: what a cell of the matrix is, whole, so that one that plora does not know can be read.
        split: which split was scored: `test`, or `validation` while settings are still being chosen.
        gates: for each stage learned, how much each slot then contributed to it, by name; see
            `ContinualModel.coefficients`.
        settings: the run's config as JSON, without what has a key of its own here; empty where not recorded.
        predictions: for each row of the matrix the sha256 of its predictions, None where it was not measured; empty
            where an older version wrote them.
        slot_states: for each stage learned, what became of the slots; None where an older version learned it.
        passes: forward passes of the backbone per prediction; None where not recorded.
        run: what every file of the run calls it, see `plora.sealed.Identity`; empty in records of older versions.
        schema: version of this layout.

    Raises:
        RunError: the parts contradict each other; says which.
    """

    name: str
    method: str
    method_summary: str
    scenario: Scenario
    stream: StreamInfo
    seed: int
    tasks: tuple[str, ...]
    matrix: Annotated[NDArray[np.float64], BeforeValidator(_matrix_from_json)]
    status: tuple[TaskStatus, ...]
    cost: tuple[TaskCost, ...]
    data: tuple[TaskData, ...]
    warnings: tuple[str, ...]
    complete: bool
    environment: str = "environment.json"
    problem: str = "text_classification"
    score: Score = ACCURACY
    split: ScoredSplit = "test"
    gates: tuple[Mapping[str, float], ...] = ()
    settings: Mapping[str, AnyJson] = field(default_factory=dict)
    predictions: tuple[str | None, ...] = ()
    slot_states: tuple[SlotState | None, ...] = ()
    passes: int | None = None
    run: str = ""
    schema: int = SCHEMA

    __pydantic_config__ = _STRICT

    def __post_init__(self) -> None:
        try:
            matrix = checked(np.array(self.matrix, dtype=np.float64))
        except MetricError as error:
            raise RunError(f"matrix: {error}") from None
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)
        T = len(self.tasks)
        if len(set(self.tasks)) != T:
            raise RunError(f"tasks: names must be unique, got {list(self.tasks)}")
        if matrix.shape[1] != T:
            raise RunError(f"matrix: {matrix.shape[1]} columns for {T} tasks")
        if len(self.status) != T:
            raise RunError(f"status: {len(self.status)} entries for {T} tasks")
        if self.predictions and len(self.predictions) != T + 1:
            raise RunError(f"predictions: {len(self.predictions)} entries for {T + 1} rows of the matrix")
        self.score.require(matrix)
        for task, status, row in zip(self.tasks, self.status, matrix[1:], strict=True):
            if status not in get_args(TaskStatus):
                raise RunError(f"status: got '{status}', expected one of {', '.join(get_args(TaskStatus))}")
            measured = not np.isnan(row).all()
            if measured != (status == "evaluated"):
                has = "some" if measured else "no"
                raise RunError(f"status: task '{task}' is {status}, but its row of the matrix has {has} score")
        if self.complete and (self.status[-1] != "evaluated" or "pending" in self.status):
            raise RunError("complete: true, but not every task was learned and the last one evaluated")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunRecord) and (self.to_json(), self.cost) == (other.to_json(), other.cost)

    @property
    def learned(self) -> int:
        """How many tasks the run had learned."""
        return sum(status != "pending" for status in self.status)

    @property
    def sizes(self) -> list[int] | None:
        """Examples scored of each task, in the order of the tasks; None while some were not learned."""
        by_task = {data.task: data.test if self.split == "test" else data.validation for data in self.data}
        return [by_task[task] for task in self.tasks] if set(by_task) >= set(self.tasks) else None

    @property
    def metrics(self) -> dict[str, Metric]:
        """Every metric by name, computed from the matrix."""
        return summary(self.matrix, self.scenario, self.score)

    def to_json(self) -> dict[str, JsonValue]:
        """Return the content of `results.json`, metrics included."""
        # Not `asdict`, which copies every cell of the matrix to throw it away.
        content: dict[str, JsonValue] = {"schema": self.schema}
        content |= {name.name: getattr(self, name.name) for name in fields(self) if name.name not in ("cost", "run")}
        content["slot_states"] = [None if state is None else asdict(state) for state in self.slot_states]
        content["stream"], content["data"] = asdict(self.stream), [asdict(data) for data in self.data]
        if not self.stream.notes:  # a stream of which there is nothing to say has the record that it always had
            content["stream"] = {"name": self.stream.name, "fingerprint": self.stream.fingerprint}
        content["score"] = self.score.to_json()
        content["matrix"] = [[cell if cell == cell else None for cell in row] for row in self.matrix.tolist()]
        content["metrics"] = {
            metric.name: {"value": metric.value, "reason": metric.reason, "definition": metric.definition}
            for metric in self.metrics.values()
        }
        return content


_ADAPTER = TypeAdapter(RunRecord)
_COSTS = TypeAdapter(tuple[TaskCost, ...])


def write_record(path: Path, record: RunRecord) -> None:
    """Write `record` to `path` (the run folder, or its `results.json`), the costs first, each file atomically."""
    file = _results_file(path)
    of_costs, of_results = (
        Identity(record.run, kind, record.learned) if record.run else None for kind in ("costs", "results")
    )
    costs: dict[str, JsonValue] = {"schema": record.schema, "cost": [asdict(cost) for cost in record.cost]}
    write_sealed(inside(file.parent, COSTS_FILE), costs, of_costs)
    write_sealed(inside(file.parent, RESULTS_FILE), record.to_json(), of_results)


def read_record(path: Path) -> RunRecord:
    """Read the record of a run and recompute its metrics.

    Args:
        path: the run folder, or its `results.json`.

    Raises:
        RunError: there is no such file, it is not strict JSON, its schema is newer, or its content is not a record;
            one line that names the file and the key.
    """
    file = _results_file(path)
    folder = file.parent
    if not inside(folder, RESULTS_FILE).exists():
        raise RunError(
            f"{path} is not a run: it has no {RESULTS_FILE}; name a folder that 'plora run' made, or a parent of some"
        )
    sealed, run = open_sealed(file), run_of(folder)
    content = _of_this_schema(file, sealed.content)
    content.pop("metrics", None)
    if "cost" in content:
        raise RunError(f"{file} is damaged: cost: this stands in {COSTS_FILE}")
    costs = inside(folder, COSTS_FILE)
    record = fitted(file, {**content, "cost": [], "run": sealed.of.run if sealed.of else ""}, _ADAPTER)
    require_of(file, sealed, run, "results", record.learned)
    environment = inside(folder, ENVIRONMENT_FILE)
    if record.run and environment.exists():
        open_own(environment, record.run, "environment")
    of_costs = open_sealed(costs)
    require_of(costs, of_costs, record.run or run, "costs")
    cost = fitted(costs, _of_this_schema(costs, of_costs.content).get("cost"), _COSTS)
    return replace(record, cost=cost)


def _of_this_schema(file: Path, content: dict[str, object]) -> dict[str, object]:
    """The content of a file as the newest schema has it."""
    if content.get("schema") not in range(1, SCHEMA + 1):
        raise RunError(
            f"{file} has schema {content.get('schema')!r}, this version of plora reads schemas 1 to {SCHEMA}; "
            "read it with the version of plora that wrote it (see its environment.json)"
        )
    if isinstance(name := content.get("score", ACCURACY.name), str):  # schemas 1 and 2
        if name not in SCORES:
            raise RunError(f"{file} is damaged: score: '{name}' without its unit and range")
        content = {**content, "score": SCORES[name].to_json()}
    return content | {"schema": SCHEMA}


def _results_file(path: Path) -> Path:
    return path if path.name == RESULTS_FILE else path / RESULTS_FILE
