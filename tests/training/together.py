"""Several processes that work together: forked, and met at a file, because importing torch anew would take minutes."""

import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, PartialState
from killing import FAILED, REFUSED

from plora.errors import PloraError
from plora.failpoints import ENVIRONMENT


def together(count: int, work: Callable[[int], object], place: Path, failpoint: str = "") -> list[int]:
    """Do `work`, given its rank, in `count` processes at once, and return their exit statuses.

    Args:
        count: of processes.
        work: is called once in each; a mistake that it finds is in `place / refusal-RANK`.
        place: a folder where they meet.
        failpoint: where they kill themselves.
    """
    place.mkdir(parents=True)
    children = [_fork(rank, count, work, place, failpoint) for rank in range(count)]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _fork(rank: int, count: int, work: Callable[[int], object], place: Path, failpoint: str) -> int:
    if child := os.fork():
        return child
    try:
        torch.set_num_threads(1)  # the parent's threads do not exist here
        PartialState._reset_state()
        AcceleratorState._reset_state()
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1", ENVIRONMENT: failpoint}
        torch.distributed.init_process_group(
            "gloo",
            init_method=f"file://{place}/meeting",
            rank=rank,
            world_size=count,
            timeout=timedelta(seconds=100),  # who waits for nobody fails, and does not hang
        )
        work(rank)
        os._exit(0)
    except PloraError as error:
        (place / f"refusal-{rank}").write_text(str(error), encoding="utf-8")
        os._exit(REFUSED)
    except BaseException:
        traceback.print_exc()
        os._exit(FAILED)
