"""The whole of a run as one strict schema: defaults ← YAML or JSON ← key=value.

    config = load_config("topics.yaml", ["training.epochs=3", "seed=1"])

Every key is declared once, beside the part that reads it. All mistakes are reported together, each with its path.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from plora.adapters import LoRA, Merging
from plora.backbones import BackboneConfig
from plora.errors import ConfigError, did_you_mean
from plora.methods import METHODS, LossRows, Method, Phase
from plora.plain_yaml import parse_yaml
from plora.strategies import STRATEGIES, Strategy
from plora.streams import STREAMS
from plora.streams.base import Scenario, StreamSource
from plora.streams.columns import TableSource
from plora.streams.local import LocalStream, LocalTask
from plora.training.settings import EvaluationConfig, TrainingConfig
from plora.training.tracking import TrackerName

_LONGEST_NAME = 200
_OWN_KEYS = {"kind", "name", "tasks"}
"""Keys of a stream of tables that do not say how rows are chosen."""


def _by_kind(table: Mapping[str, type[BaseModel]], what: str) -> WrapValidator:
    """Choose a class by its `kind` key from a visible table, so that errors name the chosen class's own keys."""

    def choose(value: object, _: Callable[[object], BaseModel]) -> BaseModel:
        if isinstance(value, BaseModel):
            return value
        if not isinstance(value, Mapping) or "kind" not in value:
            raise PydanticCustomError("kind", "needs a 'kind' key; kinds: {kinds}", {"kinds": ", ".join(table)})
        kind = str(value["kind"])
        if kind not in table:
            raise PydanticCustomError(
                "kind",
                "unknown {what} kind '{kind}'{hint} (kinds: {kinds})",
                {"what": what, "kind": kind, "hint": did_you_mean(kind, table), "kinds": ", ".join(table)},
            )
        return table[kind].model_validate(value)

    return WrapValidator(choose)


def _known_method(name: str) -> str:
    if name not in METHODS:
        raise PydanticCustomError(
            "kind",
            "unknown method '{name}'{hint} (methods: {methods})",
            {"name": name, "hint": did_you_mean(name, METHODS), "methods": ", ".join(METHODS)},
        )
    return name


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
    stream: Annotated[SerializeAsAny[StreamSource], _by_kind(STREAMS, "stream")]
    """Where the tasks come from: `kind:` and its own keys."""
    added: tuple[LocalTask, ...] = ()
    """Tasks after those of the stream, from local files; `plora extend` writes them here."""
    scenario: Scenario = "task"
    """`task`: the task is known at test time, a head each; `class`: it is not, one head over all classes; `domain`:
    it is not, and all tasks have the same labels."""
    method: Annotated[str, AfterValidator(_known_method)] = "sequential"
    """A row of the method table; see `plora ls`."""
    head: str | None = None
    """`linear`, or for `frozen` also `ncm`, `ridge` or `ranpac`; None takes the method's default."""
    backbone: BackboneConfig = BackboneConfig()
    """The pretrained network."""
    lora: LoRA = LoRA()
    """Adapters: rank, scaling, targets."""
    merging: Merging = Merging()
    """How slots are merged, in the methods that do so."""
    training: TrainingConfig = TrainingConfig()
    """Optimizer, schedule, batches."""
    phases: tuple[Phase, ...] | None = Field(default=None, min_length=1)
    """What trains, in order; None takes the method's own phases."""
    order: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of all tasks of the stream in the order in which they are learned; None keeps the stream's own."""
    loss_rows: LossRows | None = None
    """Class-incremental: rows that compete in the loss, the current task's (`local`) or all `seen`; None takes `seen`
    where old examples are replayed, and else the method's own."""
    strategies: tuple[Annotated[SerializeAsAny[Strategy], _by_kind(STRATEGIES, "strategy")], ...] = ()
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

    @field_validator("strategies", mode="after")
    @classmethod
    def _with_the_methods_settings(cls, given: tuple[Strategy, ...], info: ValidationInfo) -> tuple[Strategy, ...]:
        """Take what is not set from the method's own strategy of that kind, not from the default of the kind."""
        row = METHODS.get(info.data.get("method", ""))
        own = row.strategies if row is not None else {}
        found = []
        for strategy in given:
            set_here = {name: getattr(strategy, name) for name in strategy.model_fields_set}
            try:
                found.append(type(strategy).model_validate({**dict(own.get(strategy.kind, {})), **set_here}))
            except ValidationError as error:  # settings that do not fit those of the method
                raise ValueError(f"'{strategy.kind}': {_said(error.errors()[0])}") from None
        return tuple(found)

    @property
    def row(self) -> Method:
        """The method's row of the table."""
        return METHODS[self.method]

    @property
    def label(self) -> str:
        """The method's name in tables, with its head where that is not the default: `frozen-ridge`."""
        return self.method if self.head in (None, self.row.heads[0]) else f"{self.method}-{self.head}"

    @property
    def folder(self) -> Path:
        """Where this run is kept."""
        return self.output / self.name / self.label / f"seed-{self.seed}"

    def added_source(self) -> LocalStream:
        """Return the source of the added tasks, with the caps and fractions of a stream of tables."""
        caps = {}
        if isinstance(self.stream, TableSource):
            caps = {name: getattr(self.stream, name) for name in TableSource.model_fields if name not in _OWN_KEYS}
        return LocalStream(name=self.stream.kind, tasks=self.added, **caps)

    def resolved_head(self) -> str:
        """The head's name, with the method's default filled in."""
        return self.head or self.row.heads[0]

    def resolved_phases(self) -> tuple[Phase, ...]:
        """The phases, with the method's own filled in."""
        return self.phases or self.row.phases

    def resolved_strategies(self) -> tuple[Strategy, ...]:
        """The method's strategies with this config's settings, then those it adds."""
        chosen: dict[str, Strategy] = {**self.row.strategies, **{s.kind: s for s in self.strategies}}
        return tuple(chosen.values())

    def resolved_loss_rows(self) -> LossRows:
        """The rows that compete in the loss class-incrementally, with what method and strategies need filled in."""
        if self.loss_rows is not None:
            return self.loss_rows
        return "seen" if any(strategy.replays for strategy in self.resolved_strategies()) else self.row.loss_rows

    def to_yaml(self) -> str:
        """Return the resolved config; `plora run` on it repeats the run."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def load_config(source: str | Path | Mapping[str, object], overrides: Sequence[str] = ()) -> RunConfig:
    """Read a config and apply `key.path=value` overrides, whose values are YAML.

    Args:
        source: a YAML or JSON file, or a mapping.
        overrides: such as `training.epochs=3` or `lora.targets=[query, value]`.

    Raises:
        ConfigError: every mistake, one line each, starting with its key.
    """
    values = read_values(Path(source)) if isinstance(source, str | Path) else dict(source)
    problems: list[str] = []
    for assignment in overrides:
        try:
            override(values, assignment)
        except ConfigError as error:
            problems += error.problems
    problems += _unusable(values)
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError([*problems, *(_line(details, values) for details in error.errors())]) from None
    problems += _cross_checks(config)
    if problems:
        raise ConfigError(problems)
    return config


def load_task(train: Path, keys: Sequence[str]) -> LocalTask:
    """Read a task of local files from `key=value` arguments.

    Args:
        train: file or folder with its training examples; its stem is the task's name unless `name=` is given.
        keys: such as `text=review` or `test=test.csv`; values are YAML.

    Raises:
        ConfigError: every mistake, one line each, starting with its key.
    """
    values: dict[str, object] = {"name": train.stem, "train": str(train)}
    for key in keys:
        override(values, key)
    if problems := list(_unusable(values)):
        raise ConfigError(problems)
    try:
        return LocalTask.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_line(details, values, LocalTask) for details in error.errors()) from None


def _cross_checks(config: RunConfig) -> Iterator[str]:
    """Mistakes that concern several keys."""
    row = config.row
    if refusal := row.refusal(config.scenario):
        yield f"scenario: {refusal}"
    if config.resolved_head() not in row.heads:
        yield (
            f"head: '{config.head}' does not fit method '{config.method}'{did_you_mean(str(config.head), row.heads)} "
            f"(heads: {', '.join(row.heads)})"
        )
    possible = {part for phase in row.phases for part in phase.train}
    for part in sorted({part for phase in config.resolved_phases() for part in phase.train} - possible):
        yield f"phases: method '{config.method}' has no {part} to train; it can train: {', '.join(sorted(possible))}"
    if row.merging is None and config.merging != Merging():
        yield f"merging: method '{config.method}' merges nothing; use merged_average, merged_ties or merged_magmax"
    if row.slots == "first" and not any("adapter" in phase.train for phase in config.resolved_phases()):
        yield f"phases: method '{config.method}' without a phase that trains the adapter is method 'frozen'; use that"
    if config.training.activation_checkpointing and row.slots == "none" and not row.trains_backbone:
        yield (
            f"training.activation_checkpointing: method '{config.method}' trains nothing inside the backbone, so there "
            "are no activations to keep or to compute again; leave it out"
        )
    if row.merging not in (None, "ties") and config.merging.keep != Merging().keep:
        yield f"merging.keep: method '{config.method}' keeps every entry of a slot; it is a setting of merged_ties"
    if config.loss_rows is not None and config.scenario != "class":
        yield (
            f"loss_rows: it decides nothing in the {config.scenario}-incremental scenario, where a task's own classes "
            "compete; leave it out, or use scenario=class"
        )
    kinds = [strategy.kind for strategy in config.strategies]
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        yield f"strategies: '{kind}' is listed {kinds.count(kind)} times; once is possible, with all of its settings"
    shares_rows = config.scenario == "domain" or (config.scenario == "class" and config.resolved_loss_rows() == "seen")
    for strategy in config.resolved_strategies():
        if reason := row.nothing_to_protect(strategy, config.resolved_head(), shares_rows):
            yield f"strategies: '{strategy.kind}' does not fit method '{config.method}': {reason}"


def read_values(path: Path) -> dict[str, object]:
    """Read the keys of a YAML or JSON file.

    Raises:
        ConfigError: there is no such file, or it is no mapping.
    """
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))  # JSON is YAML
    except FileNotFoundError:
        raise ConfigError(
            [f"config {path} does not exist; `plora ls` lists the shipped ones, `plora cp` copies one"]
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"config {path} is not YAML: {error}"]) from None
    except (OSError, ValueError) as error:  # not UTF-8, or not even a path
        raise ConfigError([f"config {path} cannot be read: {error}"]) from None
    if not isinstance(values, dict):
        raise ConfigError([f"config {path} must be a mapping of keys, got {type(values).__name__}"])
    return values


def override(values: dict[str, object], assignment: str) -> None:
    """Put `a.b=value`, its value YAML, into nested mappings, in place.

    Raises:
        ConfigError: it is no assignment, its value is not YAML, or it goes through a key that has no keys of its own.
    """
    path, equals, text = assignment.partition("=")
    if not equals or not re.fullmatch(r"\w+(\.\w+)*", path):
        raise ConfigError([f"'{assignment}': expected key=value, such as training.epochs=3"])
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        raise ConfigError([f"{path}: the value {_shown(text)} is not YAML; quote it"]) from None
    put(values, path, value)


def put(values: dict[str, object], path: str, value: object) -> None:
    """Set `a.b` in nested mappings, in place; inner mappings are copied, never changed.

    Raises:
        ConfigError: the path goes through a key that has no keys of its own.
    """
    *parents, last = path.split(".")
    place = values
    for parent in parents:
        inner = place.get(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError([f"{path}: '{parent}' is {_shown(inner)}, it has no keys of its own"])
        place[parent] = place = dict(inner)
    place[last] = value


def _line(error: ErrorDetails, values: Mapping[str, object], schema: type[BaseModel] | None = None) -> str:
    """One mistake as one line: key, what was got, what was expected."""
    location = _as_written(error["loc"], values)
    path = ".".join(str(part) for part in location) or "config"
    if error["type"] == "extra_forbidden":
        known = _keys_beside(location, values, schema or RunConfig)
        return f"{path}: unknown key{did_you_mean(str(location[-1]), known)} (keys here: {', '.join(known)})"
    if error["type"] == "missing":
        return f"{path}: missing, and it has no default"
    if error["type"] == "kind":
        return f"{path}: {error['msg']}"
    message = _said(error)
    return f"{path}: got {_shown(error['input'])}; {message[0].lower()}{message[1:]}"


def _said(error: ErrorDetails) -> str:
    """The message of a mistake, without the word that pydantic puts before those of our own checks."""
    return error["msg"].removeprefix("Value error, ")


def _unusable(value: object, path: str = "") -> Iterator[str]:
    """Values that no key can take, whatever its type: they would break in a library, hours later."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _unusable(inner, f"{path}.{key if isinstance(key, str) else _shown(key)}".lstrip("."))
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from _unusable(inner, f"{path}.{position}")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield f"{path}: got an integer of {value.bit_length()} bits; at most 63 are possible"
    elif isinstance(value, str) and "\0" in value:
        yield f"{path}: got {_shown(value)}; no name, path or text of a config has a NUL character"


def _shown(value: object) -> str:
    """A value as it is quoted in a mistake."""
    try:
        text = repr(value)
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return f"a very long {type(value).__name__}"
    return text if len(text) < 80 else text[:77] + "…"


def _as_written(location: Sequence[str | int], values: Mapping[str, object]) -> list[str | int]:
    """The place of a mistake without the kinds that pydantic puts behind a key whose value may be of several."""
    found: list[str | int] = []
    place: object = values
    for part in location[:-1]:
        if isinstance(place, Mapping | list):
            if part not in (place if isinstance(place, Mapping) else range(len(place))):
                continue
            place = place[part]  # type: ignore[index]
        found.append(part)
    return [*found, *location[-1:]]


def _keys_beside(location: Sequence[str | int], values: Mapping[str, object], schema: type[BaseModel]) -> list[str]:
    """Names of the fields of the model that the last part of `location` was looked up in."""
    models: list[type[BaseModel]] = [schema]
    place: object = values
    for part in location[:-1]:
        place = place[part] if isinstance(place, Mapping | list) else None  # type: ignore[index]
        kind = str(place.get("kind")) if isinstance(place, Mapping) else None
        inner = [model for outer in models for model in _models_in(outer, part)]
        chosen = [
            model for model in inner if "kind" in model.model_fields and model.model_fields["kind"].default == kind
        ]
        models = chosen or inner or models
    return list(dict.fromkeys(name for model in models for name in model.model_fields))


def _models_in(model: type[BaseModel], part: str | int) -> list[type[BaseModel]]:
    field = model.model_fields.get(str(part))
    if field is None:
        return []
    if part in ("stream", "strategies"):
        return list((STREAMS if part == "stream" else STRATEGIES).values())
    found: list[type[BaseModel]] = []
    waiting = [field.annotation]
    while waiting:
        annotation = waiting.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.append(annotation)
        waiting += get_args(annotation)
    return found
