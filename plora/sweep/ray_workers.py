"""A sweep on Ray: each worker is a process that loads its backbone once and keeps it for its runs."""

import json
import logging
import math
import os
from collections.abc import Sequence
from typing import Any

import torch

from plora.build import Workspace
from plora.config import RunConfig, load_config
from plora.errors import RunError
from plora.sweep.one_run import learn
from plora.sweep.plan import SweepRun
from plora.sweep.progress import Progress, Say

_PASSED_ON = ("PLORA_", "HF_")
"""Environment variables that workers on other machines are given, by how they begin."""


class _Worker:
    """A process of the cluster. What goes in and out is text.

    Args:
        folder: in which the sweep was started; relative paths of configs begin there.
        threads: of its matrix products.
    """

    def __init__(self, folder: str, threads: int) -> None:
        os.chdir(folder)
        torch.set_num_threads(threads)
        self.workspace = Workspace()

    def learn(self, label: str, config: str) -> str:
        """Do one run; returns one line if it failed."""
        return learn(SweepRun(label, load_config(json.loads(config))), self.workspace)


class RayWorkers:
    """The workers of a Ray cluster, started when there is something to do and kept until the sweep is over.

    Args:
        workers: at most so many processes.
        cpus_per_run, gpus_per_run: what each is given; it computes with as many threads as it has CPUs.
        address: of the cluster; None starts one on this machine, and stops it at the end.
    """

    def __init__(self, workers: int, cpus_per_run: float, gpus_per_run: float, address: str | None) -> None:
        self._workers = workers
        self._cpus, self._gpus = cpus_per_run, gpus_per_run
        self._address = address
        self._ray: Any = None
        self._idle: list[Any] = []

    def __enter__(self) -> "RayWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._ray is not None:
            self._ray.shutdown()

    def learn(self, items: Sequence[Progress], say: Say) -> None:
        """Do runs, as many at once as there are workers.

        Runs with the same backbone and precision follow each other, so that a worker seldom loads another one. A
        worker that dies, or that Ray loses (a machine that slept), is replaced, and its run goes on in another one; a
        run that loses two workers has failed, for it may be what kills them.

        Args:
            items: what to do.
            say: takes a line when a run begins or ends.

        Raises:
            RunError: Ray is not installed, or the cluster cannot be reached.
        """
        waiting = sorted(items, key=lambda item: _shared(item.run.config))
        if waiting and self._ray is None:
            self._start()
        busy: dict[Any, tuple[Any, Progress]] = {}
        gone_on: set[int] = set()
        while waiting or busy:
            while waiting and (self._idle or len(busy) < self._workers):
                item, worker = waiting.pop(0), self._idle.pop() if self._idle else self._worker()
                item.begin(say)
                config = item.run.config.model_dump_json()
                busy[worker.learn.remote(item.run.label, config)] = worker, item
            (done, *_), _ = self._ray.wait(list(busy), num_returns=1)
            worker, item = busy.pop(done)
            try:
                item.end(self._ray.get(done), say)
            except self._ray.exceptions.RayError as error:  # killed for memory, or a lost machine
                self._ray.kill(worker)  # one that was out of reach may still be at it
                worker = self._worker()
                if id(item) in gone_on:
                    item.end(f"two workers died over it ({' '.join(str(error).split())[:120]})", say)
                else:
                    gone_on.add(id(item))
                    waiting.insert(0, item)
            self._idle.append(worker)

    def _start(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report this use to its makers
        try:
            import ray
        except ImportError:
            raise RunError('several workers need Ray, which is not installed: pip install "plora[sweep]"') from None
        given = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
        local: dict[str, Any] = {"num_cpus": math.ceil(self._workers * self._cpus), "include_dashboard": False}
        try:
            ray.init(
                address=self._address,
                logging_level=logging.ERROR,
                log_to_driver=False,
                runtime_env={"env_vars": given},
                **({} if self._address else local),
            )
        except (ConnectionError, ValueError) as error:
            line = " ".join(str(error).split())[:200]
            raise RunError(f"no Ray cluster at {self._address}: {line}") from None
        self._ray = ray

    def _worker(self) -> Any:  # noqa: ANN401 - Ray's handle of a process has no type of its own
        remote: Any = self._ray.remote(num_cpus=self._cpus, num_gpus=self._gpus)(_Worker)
        return remote.remote(os.getcwd(), max(1, int(self._cpus)))


def _shared(config: RunConfig) -> str:
    """Runs for which this is equal share a loaded backbone."""
    own = "own" if config.row.trains_backbone else ""
    return f"{own} {config.backbone.model_dump_json()} {config.training.precision}"
