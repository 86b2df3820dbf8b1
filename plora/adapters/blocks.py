"""The repeated blocks of a network, found by its structure, and the stages that a convolutional one has them in."""

from collections.abc import Sequence

from torch import nn
from transformers.pytorch_utils import Conv1D

from plora.adapters.linear import AdaptedLinear, is_layer
from plora.adapters.stand_in import pristine

Named = tuple[str, nn.Module]
Layers = tuple[type[nn.Module], ...]

_LINEAR: Layers = (nn.Linear, Conv1D)
_CONVOLUTION: Layers = (nn.Conv2d,)


def find_blocks(model: nn.Module) -> list[Named]:
    """Return `(path, block)` of the repeated blocks: every member of a ModuleList of ≥ 2 alike modules.

    So is every member of an nn.Sequential (timm), unless the members are bare layers. Lists inside another block are
    part of that block, as the experts of a mixture are; a list of lists is one list. Only lists whose members have a
    linear layer inside count, or, in a network without such a list, a convolution. In a network without any, a
    ModuleList with one member counts (a network of one layer, or of one that is used again and again, as ALBERT's).
    """
    for at_least in (2, 1):
        if blocks := _repeated(model, _LINEAR, at_least) or _repeated(model, _CONVOLUTION, at_least):
            return blocks
    return []


def find_stages(model: nn.Module) -> list[Named]:
    """Return `(path, stage)` of the groups of blocks that a network has; none where it has blocks alone.

    A stage is a repeated block that holds a list of alike modules itself (`transformers`), or one of several
    nn.Sequential of alike blocks beside each other (torchvision's `layer1`, `layer2`, …).
    """
    blocks = find_blocks(model)
    stages = [(path, block) for path, block in blocks if _inner(path, block)]
    if stages:
        return stages
    lists = dict.fromkeys(path.rpartition(".")[0] for path, _ in blocks)
    found = [(path, model.get_submodule(path)) for path in lists if path]
    beside = len({path.rpartition(".")[0] for path, _ in found}) == 1 < len(found)
    return found if beside and all(isinstance(stage, nn.Sequential) for _, stage in found) else []


def find_inner_blocks(model: nn.Module) -> list[Named]:
    """Return `(path, block)` of the repeated blocks, those of each stage where there are stages."""
    return [inner for path, block in find_blocks(model) for inner in _inner(path, block) or [(path, block)]]


def _repeated(model: nn.Module, layers: Layers, at_least: int) -> list[Named]:
    blocks: list[Named] = []
    for path, module in model.named_modules():
        if any(path.startswith(f"{outer}.") for outer, _ in blocks) or "expert" in path.rpartition(".")[2]:
            continue
        if isinstance(module, nn.ModuleList | nn.Sequential):
            members = _members(path, module)
            single = len(members) == 1 and isinstance(module, nn.ModuleList)
            if (len(members) >= 2 or (single and at_least == 1)) and _are_blocks(module, members, layers):
                blocks += members
    return blocks


def _members(path: str, container: nn.ModuleList | nn.Sequential) -> list[Named]:
    """The members of a list, and of the lists that it consists of."""
    members = [(f"{path}.{i}" if path else str(i), child) for i, child in enumerate(container)]
    if members and all(isinstance(child, nn.ModuleList) for _, child in members):
        return [(f"{outer}.{i}", child) for outer, inner in members for i, child in enumerate(inner.children())]
    return members


def _are_blocks(container: nn.Module, members: Sequence[Named], layers: Layers) -> bool:
    """Whether all members are of one class, and the first has such layers inside without being one."""
    children = [pristine(child) for _, child in members]
    if not children or len({type(child) for child in children}) > 1:
        return False
    if (isinstance(container, nn.Sequential) or len(children) == 1) and _is_layer(children[0]):
        return False
    return any(isinstance(inner, layers) for inner in children[0].modules())


def _inner(path: str, block: nn.Module) -> list[Named]:
    """The blocks of a stage: members of a list of alike modules that the block itself holds."""
    own = pristine(block)
    prefix = path + ".base" * (own is not block)
    for name, child in own.named_children():
        if isinstance(child, nn.ModuleList | nn.Sequential):
            members = _members(f"{prefix}.{name}", child)
            if _are_blocks(child, members, _LINEAR) or _are_blocks(child, members, _CONVOLUTION):
                return members
    return []


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, AdaptedLinear) or is_layer(module)
