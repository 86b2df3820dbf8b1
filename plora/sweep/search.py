"""What a sweep searches: the keys under `search:`, and what is wrong with them."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PlainValidator, RootModel, WrapValidator
from pydantic_core import PydanticCustomError

from plora.errors import did_you_mean
from plora.methods import METHODS
from plora.results import ACCURACY, METRIC_NAMES, Further, definitions

_NOT_SEARCHED = {
    "seed": "seeds are repetitions; a lucky one is no setting",
    "method": "methods are what is compared; list them in the grid",
    "head": "heads are what is compared; list them in the grid",
    "name": "the sweep names its runs",
    "output": "the sweep has an output of its own",
    "order": "an order is a repetition; list orders in the grid",
    "scenario": "scores of other scenarios cannot be compared",
    "stream": "scores on other data cannot be compared",
    "added": "scores on other data cannot be compared",
    "evaluation": "it changes how is scored, not what is learned",
    "trackers": "they change no result",
}
"""First part of a key → why it is not searched."""


def _number(value: object) -> int | float:
    """Take a number as it is, so that a whole one stays whole, and what YAML takes for a text: 1e-3."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PydanticCustomError("number", "got {value}; expected a number", {"value": repr(value)})
    return value


_OF_TRIALS = {
    "seed": "search.seed is of every trial",
    "method": "what is chosen for a method is tried with it",
    "name": "the sweep names its runs",
    "output": "the sweep has an output of its own",
    "evaluation.split": "trials score validation",
    "evaluation": "trials score validation",
}
"""Key → why trials cannot have it otherwise than the runs."""

Number = Annotated[int | float, PlainValidator(_number)]


class Range(BaseModel):
    """Numbers between two bounds, both included; whole ones where both bounds are whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: Number
    """Smallest value."""
    high: Number
    """Largest value."""
    log: bool = False
    """Small values are tried as often as large ones: a factor counts, not a difference."""

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def problem(self) -> str | None:
        """Return what is wrong with it, or None."""
        if self.low >= self.high:
            return f"got low {self.low} and high {self.high}; low must be smaller"
        if self.log and self.low <= 0:
            return f"got low {self.low} with log: true; a logarithm needs a low above 0"
        return None

    def values(self) -> Sequence[JsonValue] | None:
        """Return every value in order, or None where there is no end of them."""
        return range(int(self.low), int(self.high) + 1) if self.whole else None

    def examples(self) -> list[JsonValue]:
        """Return values that every kind of mistake shows in: the bounds, and one between them."""
        return (
            [self.low, self.high] if self.whole else [self.low, self.low + (self.high - self.low) / math.e, self.high]
        )


class OneOf(RootModel[list[JsonValue]]):
    """A list of values, of any type, in no order."""

    model_config = ConfigDict(frozen=True)

    def problem(self) -> str | None:
        """Return what is wrong with it, or None."""
        if not self.root:
            return "got no values; list at least one, or leave the key out"
        twice = [value for position, value in enumerate(self.root) if value in self.root[:position]]
        return f"got {twice[0]!r} twice; list it once" if twice else None

    def values(self) -> Sequence[JsonValue]:
        """Return every value."""
        return self.root

    def examples(self) -> list[JsonValue]:
        """Return values that every kind of mistake shows in: all of them."""
        return self.root


def _range_or_list(value: object, _: Callable[[object], object]) -> Range | OneOf:
    """Choose by what was written, so that a mistake in a range is not told as one in a list too."""
    if isinstance(value, Range | OneOf):
        return value
    if isinstance(value, Mapping):
        return Range.model_validate(value)
    if isinstance(value, list):
        return OneOf.model_validate(value)
    raise PydanticCustomError("range", "give {low: …, high: …}, or a list of values")


Setting = Annotated[Range | OneOf, WrapValidator(_range_or_list)]


def _flat(space: object) -> object:
    """Write nested keys, as `search.space.lora.rank=[4]` makes them on a command line, as one with dots."""
    if not isinstance(space, Mapping):
        return space
    found: dict[str, object] = {}
    for key, value in space.items():
        if isinstance(value, Mapping) and value and not {"low", "high"} & value.keys():
            found |= {f"{key}.{inner}": setting for inner, setting in cast(dict[str, object], _flat(value)).items()}
        else:
            found[str(key)] = value
    return found


class SearchConfig(BaseModel):
    """A search: which settings are tried, how often, and what is best."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trials: int = Field(default=20, ge=1, le=10_000)
    """Trials of each study; a study is one combination of the grid without its seeds and orders."""
    at_once: int = Field(default=2, ge=1)
    """Trials of a study that are asked for together, so that they can run beside each other. Other numbers give other
    trials, and fewer learn more from each other."""
    seed: int = Field(default=0, ge=0)
    """Of the sampler, and of every trial's run."""
    metric: str = "accuracy"
    """What is best: any metric of a run that is scored on the validation split, or what it cost. `accuracy` is the mean
    of the last row, whatever score its cells are. The metric or the score of the runs says which way is better."""
    space: Annotated[dict[str, Setting], BeforeValidator(_flat)]
    """Key of a config → `{low, high}`, with `log: true` if wished, or a list of values."""
    settings: dict[str, JsonValue] = {}
    """Keys of a config that trials have instead of what the runs have, such as less text or fewer epochs, so that
    choosing costs less than what is chosen for; what is searched cannot be among them."""
    methods: dict[str, Annotated[dict[str, Setting], BeforeValidator(_flat)]] = {}
    """Method → more keys, which are searched for it alone, such as the weight of its own strategy."""

    def of(self, method: str) -> "SearchConfig":
        """Return the search of one method's studies."""
        return self.model_copy(update={"space": {**self.space, **self.methods.get(method, {})}, "methods": {}})

    @property
    def total(self) -> int:
        """Trials of each study: fewer than asked for where the space has no more settings."""
        counts = [len(values) if (values := setting.values()) is not None else None for setting in self.space.values()]
        return self.trials if None in counts else min(self.trials, math.prod(filter(None, counts)))

    def problems(self, said: Mapping[str, str]) -> Iterator[str]:
        """Yield every mistake, one line each.

        Args:
            said: keys that the sweep sets in its grid or runs → where.
        """
        if self.metric not in METRIC_NAMES:
            yield (
                f"search.metric: unknown metric '{self.metric}'{did_you_mean(self.metric, METRIC_NAMES)} "
                f"(metrics: {', '.join(METRIC_NAMES)})"
            )
        elif isinstance(further := definitions(ACCURACY)[self.metric], Further) and further.needs in (
            "joint",
            "single",
        ):
            yield f"search.metric: '{self.metric}' compares with another run, which no trial has; choose another metric"
        if not self.space:
            yield "search.space: is empty; list at least one key of a config, such as training.learning_rate"
        for key in self.settings:
            if reason := _OF_TRIALS.get(key):
                yield f"search.settings: '{key}' cannot be set: {reason}"
            for other in (*self.space, *(own for more in self.methods.values() for own in more)):
                if _overlap(key, other):
                    yield f"search.settings: '{key}' is searched, in '{other}'; a setting is either given or searched"
        for name in self.methods:
            if name not in METHODS:
                known = f"{did_you_mean(name, METHODS)} (methods: {', '.join(METHODS)})"
                yield f"search.methods: unknown method '{name}'{known}"
        listed = [("search.space", key, setting) for key, setting in self.space.items()]
        for name, more in self.methods.items():
            listed += [(f"search.methods.{name}", key, setting) for key, setting in more.items()]
        for home, key, setting in listed:
            place = f"{home}.{key}"
            if problem := setting.problem():
                yield f"{place}: {problem}"
            if reason := _NOT_SEARCHED.get(key.split(".")[0]):
                yield f"{place}: cannot be searched: {reason}"
                continue
            for other, where in said.items():
                if _overlap(key, other):
                    yield f"{place}: '{other}' is set in {where} too; a setting is either given or searched"
            for other in self.space:
                if key.startswith(f"{other}."):
                    yield f"{place}: is part of '{other}', which is searched as a whole"
        try:
            import optuna  # noqa: F401
        except ImportError:
            yield 'search: needs Optuna, which is not installed: pip install "plora[sweep]"'

    def examples(self) -> Iterator[dict[str, JsonValue]]:
        """Yield settings that together show whether a config can have the values of each key."""
        values = {
            key: some
            for key, setting in self.space.items()
            if key.split(".")[0] not in _NOT_SEARCHED and (some := setting.examples())
        }
        first = {key: some[0] for key, some in values.items()}
        yield first
        for key, some in values.items():
            yield from ({**first, key: value} for value in some[1:])


def _overlap(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
