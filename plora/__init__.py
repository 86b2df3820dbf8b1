"""plora: one frozen pretrained network learns task after task without forgetting.

    model = plora.apply_lora(network, rank=8, targets="attention")     # LoRA on any nn.Module
    folder = plora.run(plora.load_config("topics.yaml"))               # a stream of tasks, one run folder
    plora.predict(folder, ["a text"])

Names are loaded when they are first used, so that `import plora` is quick and has no side effects.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from plora.version import __version__ as __version__

if TYPE_CHECKING:
    from plora.adapters import Adapters, LoRA, Route, Slot, apply_lora, load_lora, merge_lora, save_lora
    from plora.config import RunConfig, load_config
    from plora.errors import PloraError
    from plora.runs import evaluate, predict, run

__all__ = [
    "Adapters",
    "LoRA",
    "PloraError",
    "Route",
    "RunConfig",
    "Slot",
    "apply_lora",
    "evaluate",
    "load_config",
    "load_lora",
    "merge_lora",
    "predict",
    "run",
    "save_lora",
]

_HOME = {
    **dict.fromkeys(("RunConfig", "load_config"), "plora.config"),
    **dict.fromkeys(("evaluate", "predict", "run"), "plora.runs"),
    "PloraError": "plora.errors",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'plora' has no attribute '{name}'")
    return getattr(import_module(_HOME.get(name, "plora.adapters")), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
