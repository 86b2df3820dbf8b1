"""What learning costs, and how much of it is left."""

import resource
import sys
import time
from dataclasses import dataclass, field

import torch

from plora.results import TaskCost


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

    def seconds_left(self) -> float | None:
        """Return the training time left in the whole run, estimated from its mean so far."""
        spent = self.training_seconds + time.perf_counter() - self.started
        return spent / self.all_steps * (self.total_steps - self.all_steps) if self.all_steps else None

    def cost(self, task: str, seconds: float, stored_bytes: int, device: torch.device) -> TaskCost:
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
