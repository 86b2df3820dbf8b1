"""Named points at which a test can kill the process, so that "a kill at any moment loses nothing" is tested, not hoped.

    PLORA_FAILPOINT=step:7 plora run …      # dies by SIGKILL when the point `step` is reached for the 7th time

Without the variable a point costs one look into the environment.
"""

import os
import signal
from collections import Counter

FAILPOINTS = {
    "write": "a file is written and synced, but does not have its name yet",
    "created": "the run folder has its config and nothing else",
    "untrained": "row 0 is on disk",
    "opened": "a stage has its slot and head rows, and no step was made",
    "micro_batch": "a micro-batch was propagated back; the optimizer has not stepped",
    "step": "the optimizer has stepped",
    "step_saved": "a checkpoint inside a task is complete",
    "epoch": "an epoch is over and its validation, if any, is done",
    "trained": "a stage is trained and not committed",
    "committed": "a stage is committed in memory and not on disk",
    "tensors_saved": "a checkpoint has its tensors and no manifest",
    "manifested": "a checkpoint is complete and the one inside its task is still there",
    "checkpointed": "a checkpoint is complete and its stage is not scored",
    "scored": "a stage is scored and its predictions are not on disk",
    "predicted": "predictions are on disk and the record is not",
    "recorded": "a stage is complete",
    "extended": "the config of a run has one task more, and nothing else has changed",
}
"""Every point, and what is on disk there."""

ENVIRONMENT = "PLORA_FAILPOINT"
_reached: Counter[str] = Counter()


def reached(point: str) -> None:
    """Die here by SIGKILL when the environment asks for it: `<point>` or `<point>:<n>`, the n-th time."""
    wanted = os.environ.get(ENVIRONMENT)
    if not wanted:
        return
    name, _, count = wanted.partition(":")
    if name == point:
        _reached[point] += 1
        if _reached[point] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
