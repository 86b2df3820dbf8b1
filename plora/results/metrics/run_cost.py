"""What a whole run cost: the costs of its tasks together."""

from collections.abc import Iterable
from dataclasses import dataclass

from plora.results.record.run_record import RunRecord


@dataclass(frozen=True)
class RunCost:
    """The costs of all tasks of a run; None where a task lacks the number, since a sum of the others would mislead.

    Args:
        seconds: of training.
        samples: training examples processed.
        tokens: tokens processed without padding.
        trainable_parameters: the most of any task.
        stored_bytes: kept to predict.
        flops: floating-point operations of training, see `TaskCost`.
        energy_joules: used during training.
        rehearsed, strategy_seconds: of strategies, see `TaskCost`.
        kept_bytes: on disk after the last task, see `TaskCost`.
    """

    seconds: float
    samples: int
    tokens: int | None
    trainable_parameters: int
    stored_bytes: int
    flops: int | None
    energy_joules: float | None
    rehearsed: int | None
    strategy_seconds: float | None
    kept_bytes: int | None

    @property
    def samples_per_second(self) -> float | None:
        """Training examples per second of training; None where it took no time."""
        return self.samples / self.seconds if self.seconds > 0 else None

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens, without padding, per second of training; None where there are none."""
        return self.tokens / self.seconds if self.tokens is not None and self.seconds > 0 else None


def run_cost(record: RunRecord) -> RunCost:
    """Return what all tasks of a run cost together; zeros of a run that has learned nothing."""
    cost = record.cost
    flops, tokens = _all(task.flops for task in cost), _all(task.tokens for task in cost)
    rehearsed = _all(task.rehearsed for task in cost)
    return RunCost(
        seconds=sum(task.seconds for task in cost),
        samples=sum(task.samples for task in cost),
        tokens=None if tokens is None else int(tokens),
        trainable_parameters=max((task.trainable_parameters for task in cost), default=0),
        stored_bytes=sum(task.stored_bytes for task in cost),
        flops=None if flops is None else int(flops),
        energy_joules=_all(task.energy_joules for task in cost),
        rehearsed=None if rehearsed is None else int(rehearsed),
        strategy_seconds=_all(task.strategy_seconds for task in cost),
        kept_bytes=cost[-1].kept_bytes if cost else None,
    )


def _all(values: Iterable[float | None]) -> float | None:
    """Return the sum, or None where there is no value or one is missing."""
    known = list(values)
    return None if not known or None in known else sum(value for value in known if value is not None)
