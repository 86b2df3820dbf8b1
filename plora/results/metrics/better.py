"""Which end of each metric is best."""

from collections.abc import Mapping
from typing import Literal

Best = Literal["highest", "lowest"]


BEST: Mapping[str, Best] = {
    "accuracy": "highest",
    "average_incremental_accuracy": "highest",
    "backward_transfer": "highest",
    "forgetting": "lowest",
    "learning_accuracy": "highest",
    "forward_transfer": "highest",
    "pooled_accuracy": "highest",
    "pooled_average_incremental_accuracy": "highest",
    "intransigence": "lowest",
    "forward_transfer_of_learning": "highest",
    "macro_f1": "highest",
    "task_accuracy": "highest",
    "expected_calibration_error": "lowest",
    "learning_speed": "lowest",
}
"""Which end of each metric is best; one that is not listed has no best."""
