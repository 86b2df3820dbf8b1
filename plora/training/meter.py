"""What learning costs, and how much of it is left."""

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from plora.results import TaskCost

_COUNTS = ("all_steps", "steps", "epochs", "samples", "tokens", "trainable")


@dataclass
class Meter:
    """What the stage being learned has cost so far, and how far the whole run is.

    Args:
        total_steps: optimizer steps of the whole run.
    """

    total_steps: int
    started: float = field(default_factory=time.perf_counter)
    all_steps: int = 0
    training_seconds: float = 0.0
    steps: int = 0
    epochs: int = 0
    samples: int = 0
    tokens: int = 0
    trainable: int = 0

    def new_stage(self) -> None:
        """Start counting a stage."""
        self.steps = self.epochs = self.samples = self.tokens = self.trainable = 0
        self.started = time.perf_counter()

    def state(self) -> dict[str, float]:
        """Return what a checkpoint inside a task keeps."""
        return {**{name: getattr(self, name) for name in _COUNTS}, "elapsed": time.perf_counter() - self.started}

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on counting from `state`."""
        for name in _COUNTS:
            setattr(self, name, int(state[name]))
        self.started = time.perf_counter() - state["elapsed"]

    def seconds_left(self) -> float | None:
        """Return the training time left in the whole run, estimated from its mean so far."""
        spent = self.training_seconds + time.perf_counter() - self.started
        return spent / self.all_steps * (self.total_steps - self.all_steps) if self.all_steps else None

    def cost(self, task: str, seconds: float, device: torch.device, stored_bytes: int) -> TaskCost:
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
        )


def peak_memory(device: torch.device) -> int:
    """Return the highest memory so far in bytes: of the device, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
