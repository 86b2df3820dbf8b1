"""Everything that plora raises for a mistake a user can make.

PloraError (a ValueError)
├── ConfigError          a key, value or combination in a config; all of them at once
├── DataError            a stream, a file or a column that cannot be learned from
├── BackboneError        a pretrained network that is missing, damaged or of an unknown shape
├── AdapterError         targets, ranks, slots
│   └── UnknownTaskError (also a KeyError) a task or slot that does not exist
├── MetricError          a metric that needs a cell which was not measured (in plora.results.metrics)
├── RunError             a run folder that exists, is damaged or is not a run
└── TrainingError        a stop during training
    └── NonFiniteLossError

    try:
        plora.run(config)
    except plora.PloraError as error:   # one line: what was got, what was expected, what to do
        print(error)

The command line prints the same line and exits with code 2.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PloraError(ValueError):
    """Base of every error that a user can cause; its text is one clear line (a ConfigError: one per mistake)."""


class ConfigError(PloraError):
    """One or more mistakes in a config, all reported at once.

    Args:
        problems: one line per mistake, each starting with the path of its key.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class DataError(PloraError):
    """A stream, a file or a column that cannot be learned from."""


class BackboneError(PloraError):
    """A pretrained network that is missing, damaged or of an unknown shape."""


class AdapterError(PloraError):
    """Adapter targets, ranks or slots that do not fit the network."""


class UnknownTaskError(AdapterError, KeyError):
    """A task or slot name that does not exist; lists the names that do."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr


class RunError(PloraError):
    """A run folder that already exists, is damaged, or is not a run."""


class TrainingError(PloraError):
    """Training stopped before the optimizer could do harm."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite; raised before the optimizer step, naming task, step and batch."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known name closest to `name`, or `""` when none is close."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
