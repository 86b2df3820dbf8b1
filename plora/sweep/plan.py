"""Which runs a sweep has: every combination of its grid, and the folder of each.

name: ablation
config: quickstart/skills-per_task      # what all runs have in common: a file, a name, or the keys themselves
settings: {training.epochs: 1}          # instead of what that says
grid:                                   # every combination
  method: [sequential, o_lora, per_task]
  seed: [0, 1, 2]
runs:                                   # more, listed one by one; what the grid also names is taken from here
  - {method: frozen, head: ridge, seed: 0}
search:                                 # choose other settings on validation data first; see plora.sweep.search
  space: {training.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}}
"""

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from plora.config import RunConfig, load_config, override, put, read_values
from plora.config.mistakes import unusable
from plora.configs import find_config
from plora.errors import ConfigError, RunError
from plora.heads import ClosedFormHead, head_class
from plora.results import read_record
from plora.run_folder.folder import RunFolder
from plora.sweep.search import SearchConfig

_IN_THE_PATH = ("method", "head", "seed")
"""Settings that every run folder's path says anyway."""
_REPETITIONS = ("seed", "order", "stream.class_seed")
"""Settings in which the runs of one study differ: what is chosen for one holds for all."""
_WHILE_TRAINING = ("training", "lora", "phases", "loss_rows", "strategies")
"""First parts of keys that do nothing where a head is solved instead of trained."""
_LONGEST = 48


class SweepConfig(BaseModel):
    """A sweep: what its runs share, and what they differ in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w][\w.-]*$", max_length=100)
    """Name of the sweep; its runs go below `<output>/<name>/`."""
    config: str | dict[str, JsonValue]
    """What all runs have in common: a config file, the name of a shipped one, or the keys of a config."""
    settings: dict[str, JsonValue] = {}
    """Keys of a config that all runs have in common, instead of those in `config`."""
    grid: dict[str, list[JsonValue]] = {}
    """Key of a config → values: one run for every combination."""
    runs: list[dict[str, JsonValue]] = []
    """More runs, beside those of the grid: key of a config → value, each."""
    planned: list[str] = []
    """What belongs here and does not exist yet; listed in the table as such."""
    search: SearchConfig | None = None
    """Settings to choose on validation data, before the runs are made; None makes them as they are."""
    output: Path = Path("runs")
    """Folder that holds all runs."""

    @field_validator("grid")
    @classmethod
    def _has_values(cls, grid: dict[str, list[JsonValue]]) -> dict[str, list[JsonValue]]:
        if empty := [key for key, values in grid.items() if not values]:
            raise ValueError(f"'{empty[0]}' has no values; give at least one, or leave the key out")
        return grid


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Args:
        label: what it differs in, such as `method=o_lora seed=1`.
        config: of the run.
        study: what it has in common with the runs whose settings are searched together; None where none are searched.
    """

    label: str
    config: RunConfig
    study: str | None = None

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return self.config.folder

    def state(self) -> str:
        """What is on disk: `new`, `cut`, or `complete`.

        Raises:
            RunError: the folder holds a run of other settings, or is damaged.
        """
        if not (self.folder / "config.yaml").exists():
            return "new"
        stored = RunFolder.existing(self.folder).read_config()
        if stored.model_dump(mode="json") != self.config.model_dump(mode="json"):
            differ = [key for key, value in stored if value != getattr(self.config, key)]
            raise RunError(
                f"{self.folder} holds a run of other settings ({', '.join(differ)}); give the sweep another name, or "
                "remove that folder"
            )
        try:
            return "complete" if read_record(self.folder).complete else "cut"
        except RunError:
            if (self.folder / "results.json").exists():
                raise
            return "cut"


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep's YAML file and apply `key=value` overrides.

    Raises:
        ConfigError: every mistake, one line each.
    """
    values = read_values(path)
    for text in overrides:
        override(values, text)
    if problems := list(unusable(values)):
        raise ConfigError(f"{path}: {problem}" for problem in problems)
    try:
        return SweepConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False)
        ) from None


def plan_runs(sweep: SweepConfig) -> list[SweepRun]:
    """Return every run of a sweep, checked; what is searched is checked too, and not chosen yet.

    Raises:
        ConfigError: every mistake of every run, each with the run's label, and of the search; two runs are the same.
    """
    base: dict[str, object] = (
        dict(sweep.config) if isinstance(sweep.config, dict) else read_values(find_config(sweep.config))
    )
    for key, value in sweep.settings.items():
        put(base, key, value)
    problems: list[str] = list(_search_problems(sweep, base))
    planned: list[SweepRun] = []
    for settings in _settings(sweep):
        label = _label(settings)
        values = dict(base)
        for key, value in settings.items():
            put(values, key, value)
        values |= {"output": str(sweep.output / sweep.name), "name": _variant(settings)}
        try:
            config = load_config(values)
            planned.append(SweepRun(label, config, _study(sweep, settings, config)))
        except ConfigError as error:
            problems += [f"{label}: {problem}" for problem in error.problems]
    owner: dict[Path, str] = {}
    for run in planned:
        if run.folder in owner:
            problems.append(f"'{owner[run.folder]}' and '{run.label}' are the same run; list it once")
        owner.setdefault(run.folder, run.label)
    problems += _impossible_settings(sweep, planned)
    if not planned and not problems:
        problems.append("the sweep has no runs; give it a grid, or runs")
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return planned


def _settings(sweep: SweepConfig) -> Iterator[Mapping[str, JsonValue]]:
    """What each run differs in."""
    if sweep.grid:
        for values in itertools.product(*sweep.grid.values()):
            yield dict(zip(sweep.grid, values, strict=True))
    yield from sweep.runs


def _search_problems(sweep: SweepConfig, base: Mapping[str, object]) -> Iterator[str]:
    """What is wrong with the search, whatever the runs are."""
    if sweep.search is None:
        return
    said = dict.fromkeys(sweep.grid, "the grid") | {key: "runs" for run in sweep.runs for key in run}
    yield from sweep.search.problems(said)
    scored = base.get("evaluation")
    in_base = isinstance(scored, dict) and scored.get("split", "test") != "test"
    if in_base or "evaluation.split" in (*sweep.settings, *said):
        yield "evaluation.split: the search scores validation, and the final runs test; leave the key out"


def _impossible_settings(sweep: SweepConfig, planned: Sequence[SweepRun]) -> Iterator[str]:
    """What is searched and no config has, with the study where not all have it."""
    studies = {run.study: run for run in planned if run.study}
    if sweep.search is None or not sweep.search.space:
        return
    found: dict[str, list[str]] = {}
    for study, run in studies.items():
        of_this: list[str] = []
        for settings in sweep.search.of(run.config.method).examples():
            values: dict[str, object] = run.config.model_dump(mode="json")
            try:
                for key, value in (sweep.search.settings | settings).items():
                    put(values, key, value)
                load_config(values)
            except ConfigError as error:
                of_this += error.problems
        for problem in dict.fromkeys(of_this):
            found.setdefault(problem, []).append(study)
    for problem, where in found.items():
        if len(where) == len(studies):
            yield f"search.space: {problem}"
        else:
            yield from (f"search.space, {study}: {problem}" for study in where)


def _study(sweep: SweepConfig, settings: Mapping[str, JsonValue], config: RunConfig) -> str | None:
    """What a run has in common with those that its settings are chosen for too; None where nothing is searched."""
    if sweep.search is None:
        return None
    solved = issubclass(head_class(config.resolved_head()), ClosedFormHead) and config.row.slots == "none"
    if solved and all(key.split(".")[0] in _WHILE_TRAINING for key in sweep.search.of(config.method).space):
        return None  # every trial would be the same
    return _label({key: value for key, value in settings.items() if key not in _REPETITIONS})


def _label(settings: Mapping[str, JsonValue]) -> str:
    return " ".join(f"{key}={_shown(value)}" for key, value in settings.items()) or "config"


def _variant(settings: Mapping[str, JsonValue]) -> str:
    """The name of an experiment: what its runs differ in from the others but for method, head and seed."""
    own = {key: value for key, value in settings.items() if key not in _IN_THE_PATH}
    return file_name("_".join(f"{key}-{_shown(value)}" for key, value in own.items()), repr(own))


def file_name(text: str, whole: str) -> str:
    """Return `text` as the name of a file or folder; where that is too long, with a hash of `whole`."""
    name = re.sub(r"[^\w.-]+", "-", text).strip("-.") or "base"
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST - 9]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return name


def _shown(value: JsonValue) -> str:
    if isinstance(value, dict):  # as it is given on a command line
        return "{" + ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items()) + "}"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
