"""Batches made in threads before they are asked for, where making one takes long: in their order, a few at a time."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

import numpy as np

from plora.batches.plan import Indices
from plora.problems import Batch, Examples

Job = tuple[Indices, int | None]
"""What `Examples.collate` is asked for: which examples, and what decides about chance."""

THREADS = min(8, os.cpu_count() or 1)
"""How many batches are made at once, and how many wait at most: more of them would take memory and no time off."""


class Ahead:
    """Collates what will be asked for, in threads, while the network computes; without a thread where that is fast.

    What a batch holds is a function of its job alone, so that threads change when it is made and nothing else. The
    threads end with the `with` block, whatever ends that.

    Args:
        examples: that are batched.
        jobs: what `collate` will be asked for, in this order; not read to the end before it has to be.
    """

    def __init__(self, examples: Examples, jobs: Iterable[Job] = ()) -> None:
        self.examples = examples
        self._jobs: Iterator[Job] = iter(jobs)
        self._waiting: deque[tuple[Job, Future[Batch]]] = deque()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.examples.slow:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="plora-ahead")
            self._submit(self._pool)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._waiting.clear()

    def expect(self, jobs: Iterable[Job]) -> None:
        """Throw away what was made ahead; from now on `collate` will be asked for other jobs.

        Args:
            jobs: in their order.
        """
        running = [future for _, future in self._waiting if not future.cancel()]
        wait(running)  # else more batches than there are threads would be in memory, which may just have run out
        self._waiting.clear()
        self._jobs = iter(jobs)
        if self._pool is not None:
            self._submit(self._pool)

    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        """Return what `Examples.collate` returns, or raise what it raises; of the next job that was announced.

        Args:
            indices: `[B]`.
            draw: decides what is random about the examples.
        """
        if self._pool is None:
            return self.examples.collate(indices, draw)
        (expected, drawn), future = self._waiting.popleft()
        assert drawn == draw, "a batch of another draw than was announced"
        assert np.array_equal(expected, indices), "other examples than were announced"
        self._submit(self._pool)  # the threads have work while this one waits
        return future.result()

    def _submit(self, pool: ThreadPoolExecutor) -> None:
        while len(self._waiting) < THREADS and (job := next(self._jobs, None)) is not None:
            self._waiting.append((job, pool.submit(self.examples.collate, *job)))
