"""Energy, where the hardware tells: counters of the GPU, or of the processor packages."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
"""Linux's counters; reading them may need permission that the process lacks."""


@dataclass
class _Counter:
    """A counter of hardware: joules since some time, beginning again at `range` where that is not None."""

    read: Callable[[], float]
    range: float | None = None
    last: float = 0.0
    total: float = 0.0

    def __post_init__(self) -> None:
        self.last = self.read()

    def joules(self) -> float:
        now = self.read()
        gone = now - self.last
        if gone < 0 and self.range is not None:
            gone += self.range
        self.last = now
        self.total += max(gone, 0.0)
        return self.total


class EnergyMeter:
    """Joules that a device has used, by whatever ran on it, since this object was made.

    A processor's counters begin again after minutes to hours; ask more often than that.

    Args:
        device: a GPU of NVIDIA with `pynvml` installed, or a CPU with readable RAPL counters; others tell nothing.
        powercap: folder of the RAPL counters.
    """

    def __init__(self, device: torch.device, powercap: Path = POWERCAP) -> None:
        self._counters = _of_gpu(device) if device.type == "cuda" else _of_packages(powercap)

    def joules(self) -> float | None:
        """Return the joules so far; None where the hardware does not tell."""
        try:
            return sum(counter.joules() for counter in self._counters) if self._counters else None
        except Exception:  # a driver that is gone, a permission that was taken: no reason to end a run
            self._counters = []
            return None


def _of_packages(powercap: Path) -> list[_Counter]:
    counters = []
    for zone in sorted(powercap.glob("intel-rapl:*")):  # AMD's have this name too
        try:
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package"):
                counters.append(_Counter(partial(_joules, zone / "energy_uj"), _joules(zone / "max_energy_range_uj")))
        except (OSError, ValueError):
            return []  # a part of the packages would pass for all of them
    return counters


def _joules(file: Path) -> float:
    return int(file.read_text()) / 1e6


def _of_gpu(device: torch.device) -> list[_Counter]:
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        return [_Counter(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)]
    except Exception:  # not installed, no driver, an older GPU
        return []
