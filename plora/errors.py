"""Everything that plora raises for a mistake a user can make.

PloraError (a ValueError)
├── ConfigError          a key, value or combination in a config; all of them at once
├── DataError            a stream, a file or a column that cannot be learned from
├── BackboneError        a pretrained network that is missing, damaged or of an unknown shape
├── AdapterError         targets, ranks, slots
│   └── UnknownTaskError (also a KeyError) a task or slot that does not exist
├── MetricError          a metric that needs a cell which was not measured (in plora.results.record)
├── RunError             a run folder that exists, is damaged or is not a run
├── TrainingError        a stop during training
│   └── NonFiniteLossError
└── ConformanceError     (also an AssertionError) a part that breaks a promise of its kind

    try:
        plora.run(config)
    except plora.PloraError as error:   # one line: what was got, what was expected, what to do
        print(error)

The command line prints the same line and exits with code 2. What goes on, and is worth knowing, is a PloraWarning (a
UserWarning).
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from plora.shown import visible

_LONGEST = 2000  # characters of a line; what is quoted in it may be a whole file
_LINE_BREAKS = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")


class PloraWarning(UserWarning):
    """Something that a user may not have meant, and that is no reason to stop; the command line prints its text."""


class PloraError(ValueError):
    """Base of every error that a user can cause; its text is one clear line (a ConfigError: one per mistake).

    Whatever is quoted from a file or a library keeps to that: line breaks become spaces, and characters that
    nobody can see, or a terminal would act upon, are written as escapes.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(_one_line, lines)))


class ConfigError(PloraError):
    """One or more mistakes in a config, all reported at once.

    Args:
        problems: one line per mistake, each starting with the path of its key.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(map(_one_line, problems))
        super().__init__(*self.problems)


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


class ConformanceError(PloraError, AssertionError):
    """A gate, strategy, head, problem or method breaks a promise of its kind: which one, what was seen, what not."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known name closest to `name`, or `""` when none is close."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def _one_line(text: str) -> str:
    line = visible(_LINE_BREAKS.sub(" ", text.strip()))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
