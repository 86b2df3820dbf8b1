"""What the weight of a layer is: a parameter of its own, or one that is computed, packed, or shared with others."""

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from plora.errors import AdapterError

_Network = TypeVar("_Network", bound=nn.Module)
_PLAIN = (nn.Linear.forward, Conv1D.forward, nn.Conv2d.forward)


def why_not_written(layer: nn.Module) -> str | None:
    """Return why W + ΔW cannot be put in the place of a layer's W; None where it can.

    What a layer computes in its own way, or with hooks around it, is compared with W x + b.
    """
    weight = layer._parameters.get("weight")
    if weight is None:
        return (
            "its weight is computed from other parameters (parametrised, weight-normalised or pruned); make it a plain "
            "one first: parametrize.remove_parametrizations, remove_weight_norm or prune.remove of torch.nn.utils"
        )
    packed = isinstance(layer, nn.Linear) and weight.shape != (layer.out_features, layer.in_features)
    if packed or not weight.is_floating_point() or weight.element_size() < 2:
        form = f"packed ({weight.dtype} {list(weight.shape)})" if packed else f"as {weight.dtype}"
        return (
            f"it stores its weight {form}; a plain floating-point weight is needed, so run without folding or merging"
        )
    if type(layer).forward in _PLAIN and not (layer._forward_hooks or layer._forward_pre_hooks):
        return None
    if weight.is_meta or _computes_plainly(layer, weight):
        return None
    return f"{type(layer).__name__} makes more of its input than W x + b, so that a changed W is not what it says"


@torch.no_grad()
def _computes_plainly(layer: nn.Module, weight: Tensor) -> bool:
    """Whether a layer maps a drawn input to W x + b, up to rounding."""
    assert isinstance(layer, nn.Linear | Conv1D | nn.Conv2d)
    generator = torch.Generator().manual_seed(0)
    if isinstance(layer, nn.Conv2d):
        shape = [1, layer.in_channels, *(2 * d * k for d, k in zip(layer.dilation, layer.kernel_size, strict=True))]
    else:
        shape = [2, weight.shape[0] if isinstance(layer, Conv1D) else layer.in_features]
    x = torch.randn(shape, generator=generator).to(weight)
    try:
        found = layer(x)
        if isinstance(layer, nn.Conv2d):
            wanted = F.conv2d(x, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        else:
            wanted = F.linear(x, weight.T if isinstance(layer, Conv1D) else weight, layer.bias)
    except (RuntimeError, TypeError):  # it wants inputs of another shape
        return False
    if not isinstance(found, Tensor) or found.shape != wanted.shape:
        return False
    rounding = 16 * torch.finfo(weight.dtype).eps * float(wanted.abs().max())
    return torch.allclose(found.to(wanted), wanted, rtol=0, atol=rounding)


def copy_of(network: _Network) -> _Network:
    """Return a deep copy of a network.

    Raises:
        AdapterError: torch cannot copy it, because a hook computes one of its weights.
    """
    for path, module in network.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                raise AdapterError(
                    f"torch cannot copy this network: a hook computes the {name} of '{path}' (pruning, or the old "
                    f"weight_norm); give copy=False, or make it a plain one first: prune.remove or remove_weight_norm "
                    "of torch.nn.utils"
                )
    return copy.deepcopy(network)


def untie(network: nn.Module, path: str) -> None:
    """Give a parameter that others share a memory of its own, with the same values.

    Args:
        network: changed in place; of `transformers`, it says that its embeddings are tied no longer, so that loading it
            again does not tie them.
        path: of the parameter.
    """
    parent, _, name = path.rpartition(".")
    owner, shared = network.get_submodule(parent), network.get_parameter(path)
    if len(sharing(network, shared)) < 2:
        return
    ends = [getattr(network, f"get_{end}_embeddings", None) for end in ("input", "output")]
    if any(getattr(end(), "weight", None) is shared for end in ends if callable(end)):
        config = getattr(network, "config", None)
        for settings in (config, getattr(config, "get_text_config", lambda: None)()):
            if settings is not None and getattr(settings, "tie_word_embeddings", False):
                settings.tie_word_embeddings = False
    owner._parameters[name] = nn.Parameter(shared.detach().clone(), requires_grad=shared.requires_grad)


def sharing(network: nn.Module, parameter: nn.Parameter) -> list[str]:
    """Return the paths under which a network has one parameter; a module with several paths is counted once."""
    return [
        f"{path}.{name}" if path else name
        for path, module in network.named_modules()
        for name, value in module._parameters.items()
        if value is parameter
    ]


def names_of(network: nn.Module, layer: nn.Module) -> list[str]:
    """Return the paths of a layer; that of a module which holds it is counted once."""
    return [
        f"{path}.{name}" if path else name
        for path, module in network.named_modules()
        for name, child in module._modules.items()
        if child is layer
    ]
