"""Statistics of a frozen network: `requires_grad=False` stops weights, and running means and variances are none."""

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from plora.adapters.place import Place


def hold_statistics(model: nn.Module) -> None:
    """Let every normalization of a network whose weights are frozen use its running statistics and leave them alone.

    Whatever `train()` is called with, and on which module: in train mode the statistics would move with each forward
    pass, and after 50 of them .9⁵⁰ = .5 % of the pretrained ones were left. One whose weights train again, because its
    owner says so, behaves as ever. Those that are a slot's own are left out.

    Args:
        model: changed in place.
    """
    owned = {inner for module in model.modules() if isinstance(module, Place) for inner in module.modules()}
    for module in model.modules():
        if isinstance(module, _NormBase) and module not in owned:
            module.register_forward_pre_hook(_in_eval_mode)


def _in_eval_mode(module: nn.Module, _: object) -> None:
    if module.training and not any(parameter.requires_grad for parameter in module.parameters()):
        module.eval()
