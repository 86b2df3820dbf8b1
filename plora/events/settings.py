"""Which experiment trackers are told, as settings."""

from typing import Literal

TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]
