"""Learning curves: `curves.jsonl`, one JSON object per line, appended while training.

A line is a `Point`. A process that dies while it writes leaves a torn last line, which is ignored.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from plora.errors import RunError
from plora.regular import read_file

_Real = Annotated[float, Field(ge=-3.5e38, le=3.5e38)]
"""What fp32 can hold; in a damaged line a longer number would break the picture."""
_Count = Annotated[int, Field(ge=0, le=2**53)]


@dataclass(frozen=True)
class Point:
    """The state of training at one logged step.

    Args:
        task: the name of the task being learned.
        step: optimizer steps taken in this task.
        epoch: epochs done in this task, fractional.
        loss: what the optimizer minimises, the sum of the terms.
        terms: each term of the loss by name, weighted as it entered the sum.
        learning_rate: at this step.
        tokens_per_second: without padding, since the point before; None where inputs have no tokens.
        examples_per_second: since the point before.
        seconds: since training of this task began.
        memory_bytes: of the process or device now; None where not measured.
        diagnostics: numbers that strategies report beside the loss, such as `mean_abs_cos`.
        validation: score of the validation split of what is being learned, after this step; None where not measured.
    """

    task: str
    step: _Count
    epoch: _Real
    loss: _Real
    terms: Mapping[str, _Real] = field(default_factory=dict)
    learning_rate: _Real = 0.0
    tokens_per_second: _Real | None = None
    examples_per_second: _Real | None = None
    seconds: _Real = 0.0
    memory_bytes: _Count | None = None
    diagnostics: Mapping[str, _Real] = field(default_factory=dict)
    validation: _Real | None = None

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    def to_line(self) -> str:
        """Return the line of `curves.jsonl`, line end included.

        Raises:
            ValueError: a number is NaN or infinite.
        """
        return json.dumps(asdict(self), allow_nan=False) + "\n"


_ADAPTER = TypeAdapter(Point)


def read_curves(path: Path) -> list[Point]:
    """Read every point in the order of the file; a torn last line is ignored.

    Args:
        path: of `curves.jsonl`.

    Raises:
        RunError: the file is missing, or a line other than the last is damaged; names the line.
    """
    try:
        lines = read_file(path).splitlines()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    points = []
    for number, line in enumerate(lines, start=1):
        try:
            points.append(_ADAPTER.validate_json(line))
        except ValidationError as error:
            if number == len(lines):
                break
            mistake = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in mistake["loc"])
            raise RunError(f"{path}, line {number} is damaged: {key or 'line'}: {mistake['msg']}") from None
    return points
