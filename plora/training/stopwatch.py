"""How long some of the work takes, without waiting for a GPU."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Seconds inside its `with watch.running():` blocks.

    A GPU works behind the process that commands it, and waiting for it at both ends of a block would slow training.
    So marks are put among its work, and read when it has passed them.

    Args:
        device: that works; any but a CUDA device is timed by this process's clock.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpu = device if device.type == "cuda" else None
        self.restart()

    def restart(self, seconds: float = 0.0) -> None:
        """Go on from `seconds`."""
        self._seconds = seconds
        self._marks: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the seconds of the block, of one that fails too."""
        if self._gpu is None:
            started = time.perf_counter()
            try:
                yield
            finally:
                self._seconds += time.perf_counter() - started
            return
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        stream = torch.cuda.current_stream(self._gpu)
        begin.record(stream)
        try:
            yield
        finally:
            end.record(stream)
            self._marks.append((begin, end))
            # A long task must not keep them all.
            while self._marks and self._marks[0][1].query():  # type: ignore[no-untyped-call]
                self._read()

    def seconds(self) -> float:
        """Return the seconds so far; waits until a GPU has passed all marks."""
        while self._marks:
            self._marks[0][1].synchronize()
            self._read()
        return self._seconds

    def _read(self) -> None:
        begin, end = self._marks.popleft()
        self._seconds += begin.elapsed_time(end) / 1000
