"""What steps the parameters, and how fast. A new optimizer is one class of settings and one line in the table."""

from typing import TYPE_CHECKING

from plora.lazy import names_from
from plora.optimizers.schedule import Schedule, rate
from plora.optimizers.settings import OPTIMIZERS, SGD, AdamW, Group, OptimizerSettings, ParameterGroups

if TYPE_CHECKING:
    from plora.optimizers.making import make_optimizer, refuse_idle, set_rates
    from plora.optimizers.state import restore_training, training_tensors

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "AdamW",
    "Group",
    "OptimizerSettings",
    "ParameterGroups",
    "Schedule",
    "make_optimizer",
    "rate",
    "refuse_idle",
    "restore_training",
    "set_rates",
    "training_tensors",
]

__getattr__, _ = names_from(
    __name__,
    {
        "making": ["make_optimizer", "refuse_idle", "set_rates"],
        "state": ["restore_training", "training_tensors"],
    },
)
