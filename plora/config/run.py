"""The whole of a run as one strict schema; every key is declared once, beside the part that reads it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from plora.adapters.settings import Bottleneck, LoRA, Merging, Pointwise
from plora.backbones.settings import BackboneConfig
from plora.config.training import EvaluationConfig, TrainingConfig
from plora.errors import ConfigError, did_you_mean
from plora.events.settings import TrackerName
from plora.gates.settings import GATES, GateSettings
from plora.kinds import by_kind, is_own
from plora.methods import METHODS, OWN, SOLVED, Drift, LossRows, Method, Phase
from plora.problems.settings import PROBLEMS, ProblemSettings, TextClassificationSettings
from plora.settings import named
from plora.strategies.settings import STRATEGIES, StrategySettings
from plora.streams import STREAMS
from plora.streams.added import AddedTask, added_sources
from plora.streams.base import Scenario, StreamSource
from plora.streams.hub import HubTask
from plora.streams.local import LocalTask

Settings = TypeVar("Settings", bound=BaseModel)
_LONGEST_NAME = 200
_SAID_ELSEWHERE = {"name", "seed", "stream", "added", "order", "output", "scenario", "method"}
"""Keys that a record has under its own keys, or as the fingerprint of the stream."""


def _known_method(name: str) -> str:
    if name not in METHODS:
        raise PydanticCustomError(
            "kind",
            "unknown method '{name}'{hint} (methods: {methods})",
            {"name": name, "hint": did_you_mean(name, METHODS), "methods": ", ".join(METHODS)},
        )
    return name


def _there(head: str) -> str:
    if is_own(head):
        try:
            named(head, object)
        except ConfigError as error:
            raise PydanticCustomError("kind", "{reason}", {"reason": str(error)}) from None
    return head


def _folder_name(name: str) -> str:
    if len(name.encode()) > _LONGEST_NAME:
        raise ValueError(f"a folder has this name, so it has at most {_LONGEST_NAME} bytes")
    return name


class RunConfig(BaseModel):
    """One run: one method, one stream, one seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(_folder_name)] = Field(default="run", pattern=r"^[\w][\w.-]*$")
    """Name of the experiment, of letters, digits, `_`, `.` and `-`; the run goes to
    `<output>/<name>/<method>/seed-<seed>`."""
    stream: Annotated[SerializeAsAny[StreamSource], by_kind(STREAMS, "stream", StreamSource)]
    """Where the tasks come from: `kind:` and its own keys."""
    added: tuple[AddedTask, ...] = ()
    """Tasks after those of the stream: from local files, in the form that the problem learns from, or domains of
    documents; `plora extend` writes them here."""
    problem: Annotated[SerializeAsAny[ProblemSettings], by_kind(PROBLEMS, "problem", ProblemSettings)] = (
        TextClassificationSettings()
    )
    """What inputs and answers look like: `kind:` and its own keys, or a class of your own, `package.module:Class`."""
    scenario: Scenario = "task"
    """`task`: the task is known at test time, a head each; `class`: it is not, one head over all classes; `domain`:
    it is not, and all tasks have the same labels."""
    method: Annotated[str, AfterValidator(_known_method)] = "sequential"
    """A row of the method table; see `plora ls`."""
    head: Annotated[str, AfterValidator(_there)] | None = None
    """`linear` or `cosine`, trained step by step; `ranpac`, `ridge`, `ncm`, `klda` or `spread`, solved over the
    features that a task leaves; or a class of your own, `package.module:Class`. None takes the method's default."""
    drift: Drift = "none"
    """With a solved head, where later tasks change the features of older ones: `linear` carries the head's sums from
    the features before a task to those after it, by the map between the two on the task's own inputs; `none` leaves
    them as they were taken."""
    backbone: BackboneConfig = BackboneConfig()
    """The pretrained network."""
    lora: LoRA | None = Field(default=LoRA(), validate_default=True)
    """Low-rank adapters: rank, scaling, targets; null for none, where slots have other places. What is not set is as
    the method has it."""
    bottleneck: Bottleneck | None = None
    """Residual adapters after blocks; None for none."""
    pointwise: Pointwise | None = None
    """Residual adapters beside convolutions, with each slot its own BatchNorm layers; None for none."""
    modules: tuple[str, ...] = ()
    """Modules of the backbone of which every slot owns a copy: last parts of their paths, or a regular expression."""
    gate: Annotated[SerializeAsAny[GateSettings], by_kind(GATES, "gate", GateSettings)] | None = None
    """How much each slot contributes: `kind:` and its own keys; None takes the method's own, and what is not set of a
    gate of that kind is as the method has it."""
    merging: Merging = Merging()
    """How slots are merged, in the methods that do so."""
    training: TrainingConfig = TrainingConfig()
    """Optimizer, schedule, batches."""
    phases: tuple[Phase, ...] | None = Field(default=None, min_length=1)
    """What trains, in order; None takes the method's own phases."""
    order: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of all tasks of the stream in the order in which they are learned; None keeps the stream's own."""
    loss_rows: LossRows | None = None
    """Class-incremental: rows that compete in the loss, and train: the current task's (`local`), those of all classes
    `seen`, or `all` of the stream, whose later tasks then have rows from the start that learn to stay low; None takes
    `seen` where old examples are replayed, and else the method's own."""
    strategies: tuple[
        Annotated[SerializeAsAny[StrategySettings], by_kind(STRATEGIES, "strategy", StrategySettings)], ...
    ] = ()
    """Settings of the method's strategies, by `kind`: what is not set here stays as the method has it. Kinds that the
    method does not list are added to it."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """When test splits are scored."""
    trackers: tuple[TrackerName, ...] = ()
    """Experiment trackers that are told too: `tensorboard`, `wandb`, `mlflow`, `trackio`; our own files are always
    written."""
    seed: int = Field(default=0, ge=0)
    """Decides adapters, head rows, batches and dropout; the same seed gives the same bits on the same machine."""
    output: Path = Path("runs")
    """Folder that holds all runs."""

    @field_validator("lora", mode="after")
    @classmethod
    def _with_the_methods_ranks(cls, given: LoRA | None, info: ValidationInfo) -> LoRA | None:
        row = METHODS.get(info.data.get("method", ""))
        return given if given is None or row is None else _filled(given, row.lora)

    @field_validator("gate", mode="after")
    @classmethod
    def _with_the_methods_gate(cls, given: GateSettings | None, info: ValidationInfo) -> GateSettings | None:
        row = METHODS.get(info.data.get("method", ""))
        return given if given is None or row is None or given.kind != row.gate else _filled(given, row.gate_settings)

    @field_validator("strategies", mode="after")
    @classmethod
    def _with_the_methods_settings(
        cls, given: tuple[StrategySettings, ...], info: ValidationInfo
    ) -> tuple[StrategySettings, ...]:
        """Take what is not set from the method's own strategy of that kind, not from the default of the kind."""
        row = METHODS.get(info.data.get("method", ""))
        own = row.strategies if row is not None else {}
        found = []
        for strategy in given:
            try:
                found.append(_filled(strategy, dict(own.get(strategy.kind, {}))))
            except ValueError as error:
                raise ValueError(f"'{strategy.kind}': {error}") from None
        return tuple(found)

    @property
    def listed(self) -> tuple[LocalTask | HubTask | AddedTask, ...]:
        """The tasks that the config names one by one; a stream of another kind, yours too, may mean anything by
        `tasks`."""
        tasks = getattr(self.stream, "tasks", None)
        own = tasks if isinstance(tasks, tuple) else ()
        return (*(task for task in own if isinstance(task, LocalTask | HubTask)), *self.added)

    @property
    def row(self) -> Method:
        """The method's row of the table."""
        return METHODS[self.method]

    @property
    def label(self) -> str:
        """The method's name in tables, with its head where that is not the default: `frozen-ridge`, `frozen-MyHead`."""
        head = self.resolved_head().rpartition(":")[2]
        return self.method if self.head in (None, self.row.heads[0]) else f"{self.method}-{head}"

    @property
    def folder(self) -> Path:
        """Where this run is kept."""
        return self.output / self.name / self.label / f"seed-{self.seed}"

    def added_sources(self) -> tuple[StreamSource, ...]:
        """Return the sources of the added tasks, with the caps and fractions of the stream."""
        return added_sources(self.stream, self.added)

    def resolved_head(self) -> str:
        """The head's name, with the method's default filled in; where there are no rows, the network answers itself."""
        return self.head or (self.row.heads[0] if self.problem.has_head else OWN)

    @property
    def solved(self) -> bool:
        """Whether the head is of a closed form, as its name or a class of the user's own says."""
        head = self.resolved_head()
        return bool(getattr(named(head, object), "solved", False)) if is_own(head) else head in SOLVED

    def resolved_gate(self) -> GateSettings | None:
        """The gate's settings, with the method's own filled in; None without slots."""
        if self.row.gate is None:
            return None
        return self.gate or GATES[self.row.gate].model_validate({"kind": self.row.gate, **self.row.gate_settings})

    @property
    def passes(self) -> int:
        """Forward passes of the backbone per prediction: 2 where a gate first reads its bare features, else 1."""
        gate = self.resolved_gate()
        return 2 if gate is not None and gate.reads and not (gate.chooses and self.scenario == "task") else 1

    def resolved_phases(self) -> tuple[Phase, ...]:
        """The phases, with the method's own filled in: what trains a slot trains its gate and its modules, too."""
        if self.phases is not None:
            return self.phases
        with_adapter = {"train": ("adapter", "head", "gate", "modules")}
        return tuple(
            phase.model_copy(update=with_adapter) if phase.train == ("adapter", "head") else phase
            for phase in self.row.phases
        )

    def resolved_strategies(self) -> tuple[StrategySettings, ...]:
        """The method's strategies with this config's settings, then those it adds."""
        chosen: dict[str, StrategySettings] = {**self.row.strategies, **{s.kind: s for s in self.strategies}}
        return tuple(chosen.values())

    def resolved_loss_rows(self) -> LossRows:
        """The rows that compete in the loss class-incrementally, with what method and strategies need filled in."""
        if self.loss_rows is not None:
            return self.loss_rows
        if self.solved and not self.row.at_once:
            return "local"  # the head that stands in while a task trains knows nothing of other rows
        if not self.problem.classifies:
            return "seen" if any(strategy.replays for strategy in self.resolved_strategies()) else "local"
        return "seen" if any(strategy.replays for strategy in self.resolved_strategies()) else self.row.loss_rows

    def settings(self) -> dict[str, JsonValue]:
        """Return the config as JSON, without what a record has under keys of its own."""
        found: dict[str, JsonValue] = self.model_dump(mode="json", exclude=_SAID_ELSEWHERE)
        return found

    @property
    def identity(self) -> str:
        """The sha256 of what decides a run beside its data, whose hashes stand beside it wherever it stands."""
        own = [self.name, self.seed, self.scenario, self.method, self.settings()]
        return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        """Return the resolved config; `plora run` on it repeats the run."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def _filled(given: Settings, own: Mapping[str, object]) -> Settings:
    """Take what is not set from the method's own settings, not from the defaults of the kind.

    Raises:
        ValueError: what is set does not fit those of the method.
    """
    set_here = {name: getattr(given, name) for name in given.model_fields_set}
    try:
        return type(given).model_validate({**own, **set_here})
    except ValidationError as error:
        raise ValueError(said(error.errors()[0])) from None


def said(error: ErrorDetails) -> str:
    """The message of a mistake, without the word that pydantic puts before those of our own checks."""
    return error["msg"].removeprefix("Value error, ")
