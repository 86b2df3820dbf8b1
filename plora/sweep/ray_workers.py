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
from plora.sweep.plan import SweepRun
from plora.sweep.progress import Progress, Say
from plora.sweep.work import learn

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


def learn_on_ray(
    items: Sequence[Progress],
    workers: int,
    cpus_per_run: float,
    gpus_per_run: float,
    address: str | None,
    say: Say,
) -> None:
    """Do runs on the workers of a Ray cluster, as many at once as there are workers.

    Runs with the same backbone and precision follow each other, so that a worker seldom loads another one. A worker
    that dies is one failed run, and is replaced.

    Args:
        items: what to do.
        workers: at most so many processes.
        cpus_per_run, gpus_per_run: what each is given; it computes with as many threads as it has CPUs.
        address: of the cluster; None starts one on this machine, and stops it at the end.
        say: takes a line when a run begins or ends.

    Raises:
        RunError: Ray is not installed, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report this use to its makers
    try:
        import ray
    except ImportError:
        raise RunError('several workers need Ray, which is not installed: pip install "plora[sweep]"') from None
    given = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
    local: dict[str, Any] = {"num_cpus": math.ceil(workers * cpus_per_run), "include_dashboard": False}
    try:
        ray.init(
            address=address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env={"env_vars": given},
            **({} if address else local),
        )
    except (ConnectionError, ValueError) as error:
        raise RunError(f"no Ray cluster at {address}: {' '.join(str(error).split())[:200]}") from None
    remote: Any = ray.remote(num_cpus=cpus_per_run, num_gpus=gpus_per_run)(_Worker)
    threads = max(1, int(cpus_per_run))
    waiting = sorted(items, key=lambda item: _shared(item.run.config))
    busy: dict[Any, tuple[Any, Progress]] = {}
    try:
        idle = [remote.remote(os.getcwd(), threads) for _ in range(min(workers, len(waiting)))]
        while waiting or busy:
            while waiting and idle:
                item, worker = waiting.pop(0), idle.pop()
                item.begin(say)
                config = item.run.config.model_dump_json()
                busy[worker.learn.remote(item.run.label, config)] = worker, item
            (done, *_), _ = ray.wait(list(busy), num_returns=1)
            worker, item = busy.pop(done)
            try:
                failure = ray.get(done)
            except ray.exceptions.RayError as error:  # killed for memory, or a lost machine
                reason = " ".join(str(error).split())[:120]
                failure = f"its worker died ({reason}); start the sweep again to go on with it"
                worker = remote.remote(os.getcwd(), threads)
            item.end(failure, say)
            idle.append(worker)
    finally:
        ray.shutdown()


def _shared(config: RunConfig) -> str:
    """Runs for which this is equal share a loaded backbone."""
    own = "own" if config.row.trains_backbone else ""
    return f"{own} {config.backbone.model_dump_json()} {config.training.precision}"
