"""What learning costs, and how much of it is left."""

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from plora.errors import RunError
from plora.results import TaskCost
from plora.training.energy import EnergyMeter
from plora.training.flops import FlopCounter
from plora.training.stopwatch import Stopwatch

_COUNTS = ("all_steps", "steps", "epochs", "samples", "tokens", "rehearsed", "trainable", "flops")


@dataclass
class Meter:
    """What the stage being learned has cost so far, and how far the whole run is.

    Args:
        total_steps: optimizer steps of the whole run.
        energy: of the device that learns.
        strategies: runs while strategies work, see `TaskCost.strategy_seconds`.
        processes: that learn together; this one works on an even share of the tokens.
    """

    total_steps: int
    energy: EnergyMeter
    strategies: Stopwatch
    processes: int = 1
    started: float = field(default_factory=time.perf_counter)
    all_steps: int = 0
    training_seconds: float = 0.0
    steps: int = 0
    epochs: int = 0
    samples: int = 0
    tokens: int = 0
    rehearsed: int = 0
    trainable: int = 0
    flops: int = 0
    flops_per_token: float = 0.0
    joules_before: float | None = 0.0  # what the energy meter showed when the stage began

    def new_stage(self) -> None:
        """Start counting a stage."""
        self.steps = self.epochs = self.samples = self.tokens = self.rehearsed = self.trainable = self.flops = 0
        self.strategies.restart()
        self.started = time.perf_counter()
        self.joules_before = self.energy.joules()

    @contextmanager
    def operations(self, tokens: int, first: bool) -> Iterator[None]:
        """Add the floating-point operations of a training step.

        They are counted in the first step of a phase, which costs some milliseconds; later steps are taken to need as
        many per token as that one.

        Args:
            tokens: of the step, without padding.
            first: whether to count.
        """
        if first:
            with FlopCounter() as counter:
                yield
            self.flops_per_token = counter.get_total_flops() * self.processes / max(tokens, 1)
        else:
            yield
        self.flops += round(self.flops_per_token * tokens)

    def state(self) -> dict[str, float]:
        """Return what a checkpoint inside a task keeps; joules where the hardware tells them."""
        joules = self._joules()
        return {
            **{name: getattr(self, name) for name in _COUNTS},
            "flops_per_token": self.flops_per_token,
            "strategy_seconds": self.strategies.seconds(),
            "elapsed": time.perf_counter() - self.started,
            **({} if joules is None else {"joules": joules}),
        }

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on counting from `state`; without its joules, those of the stage stay unknown.

        Raises:
            RunError: an older version wrote it, which did not count all of this.
        """
        if lacking := {*_COUNTS, "flops_per_token", "strategy_seconds", "elapsed"} - state.keys():
            raise RunError(f"the checkpoint inside the task has no {', '.join(sorted(lacking))}")
        for name in _COUNTS:
            setattr(self, name, int(state[name]))
        self.flops_per_token = state["flops_per_token"]
        self.strategies.restart(state["strategy_seconds"])
        self.started = time.perf_counter() - state["elapsed"]
        now, spent = self.energy.joules(), state.get("joules")
        self.joules_before = None if now is None or spent is None else now - spent

    def _joules(self) -> float | None:
        """Return the joules of the stage so far; None where a part of it is unknown, as that of other processes is."""
        now = self.energy.joules()
        return None if now is None or self.joules_before is None or self.processes > 1 else now - self.joules_before

    def seconds_left(self) -> float | None:
        """Return the training time left in the whole run, estimated from its mean so far."""
        spent = self.training_seconds + time.perf_counter() - self.started
        return spent / self.all_steps * (self.total_steps - self.all_steps) if self.all_steps else None

    def cost(
        self, task: str, seconds: float, device: torch.device, stored_bytes: int, strategy_bytes: int = 0
    ) -> TaskCost:
        """Return the record of the stage."""
        return TaskCost(
            task=task,
            seconds=seconds,
            steps=self.steps,
            epochs=float(self.epochs),
            samples=self.samples,
            tokens=self.tokens,
            trainable_parameters=self.trainable,
            stored_bytes=stored_bytes,
            peak_memory_bytes=peak_memory(device),
            flops=self.flops,
            strategy_bytes=strategy_bytes,
            rehearsed=self.rehearsed,
            strategy_seconds=self.strategies.seconds(),
            energy_joules=self._joules(),
        )


def peak_memory(device: torch.device) -> int:
    """Return the highest memory so far in bytes: of the device, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
