"""Which settings a search tries next: Optuna's TPE as a pure function of what is known so far.

Nothing of Optuna is kept, on disk or in memory: each round begins with an empty study that is told every trial of the
rounds before. So a sweep that was killed asks for the same trials again, from its run folders alone.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import JsonValue

from plora.results import Better
from plora.sweep.search import OneOf, Range, SearchConfig

Settings = Mapping[str, JsonValue]

_AT_RANDOM = 6
"""Trials before the sampler learns from them. A constant: with more trials, the first ones stay what they were."""
_DIGITS = 4
"""Of a number that is tried, so that what a table shows is what was tried."""
_TRIES = 20
"""Times that the sampler is asked for settings that are new."""


def ask(
    search: SearchConfig, finished: Sequence[tuple[Settings, float | None]], better: Better = "higher"
) -> list[dict[str, JsonValue]]:
    """Return the settings of the next round.

    The first trials are the same for every study of a sweep, so that methods are compared after the same chances.
    Settings that were tried are not tried again. A failed trial counts as worse than every other one.

    Args:
        search: what is searched.
        finished: settings and value of every trial so far, None where it failed; whole rounds, in order.
        better: which way values are better.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # In order of their names, so that the order in a file changes nothing.
    distributions = {key: _distribution(search.space[key]) for key in sorted(search.space)}
    seed = np.random.SeedSequence([search.seed, len(finished) // search.at_once]).generate_state(1)[0]
    study = optuna.create_study(
        direction="maximize" if better == "higher" else "minimize",
        sampler=optuna.samplers.TPESampler(seed=int(seed), n_startup_trials=_AT_RANDOM),
    )
    for settings, value in finished:
        params = {key: _told(setting, settings[key]) for key, setting in search.space.items()}
        failed = {"state": optuna.trial.TrialState.PRUNED}
        study.add_trial(
            optuna.trial.create_trial(
                params=params, distributions=distributions, **(failed if value is None else {"value": value})
            )
        )
    known = {_word(settings) for settings, _ in finished}
    found = []
    for _ in range(min(search.at_once, search.total - len(finished))):
        asked = (
            {key: _tried(setting, params[key]) for key, setting in search.space.items()}
            for params in (study.ask(distributions).params for _ in range(_TRIES))
        )
        fresh = next(new for new in itertools.chain(asked, _all(search)) if _word(new) not in known)
        known.add(_word(fresh))
        found.append(fresh)
    return found


def _distribution(setting: Range | OneOf) -> Any:  # noqa: ANN401 - Optuna's classes are not imported before they are used
    from optuna import distributions

    if isinstance(setting, OneOf):  # by position, because Optuna takes no lists as choices
        return distributions.CategoricalDistribution(tuple(range(len(setting.root))))
    if setting.whole:
        return distributions.IntDistribution(int(setting.low), int(setting.high), log=setting.log)
    return distributions.FloatDistribution(float(setting.low), float(setting.high), log=setting.log)


def _tried(setting: Range | OneOf, asked: float) -> JsonValue:
    """From Optuna's value to ours."""
    if isinstance(setting, OneOf):
        return setting.root[int(asked)]
    if setting.whole:
        return int(asked)
    return min(max(float(f"{asked:.{_DIGITS}g}"), float(setting.low)), float(setting.high))


def _told(setting: Range | OneOf, tried: JsonValue) -> JsonValue:
    """From our value to Optuna's."""
    return setting.root.index(tried) if isinstance(setting, OneOf) else tried


def _all(search: SearchConfig) -> Iterator[dict[str, JsonValue]]:
    """Every combination, where there is an end of them: what is left when the sampler finds nothing new."""
    values = [setting.values() for setting in search.space.values()]
    if all(known is not None for known in values):
        for combination in itertools.product(*filter(None, values)):
            yield dict(zip(search.space, combination, strict=True))


def _word(settings: Settings) -> str:
    return json.dumps(settings, sort_keys=True)
