"""Find the layers to adapt by the network's structure, and wrap them.

Names differ between architectures and changed between `transformers` 4 and 5, so a table of names is not enough:
the repeated blocks of the network are found first, then the linear layers inside them, then their roles.
"""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from transformers.pytorch_utils import Conv1D

from plora.adapters.adapted_block import AdaptedBlock
from plora.adapters.bank import Bank
from plora.adapters.blocks import find_blocks
from plora.adapters.bottleneck import BottleneckPlace
from plora.adapters.branch_place import BranchPlace
from plora.adapters.linear import WHOLE, AdaptedLinear, at_least_fp32, features, is_layer, is_linear, window_of
from plora.adapters.module_slot import ModuleSlot
from plora.adapters.place import Place
from plora.adapters.pointwise import PointwisePlace
from plora.adapters.roles import Role, attention_roles
from plora.adapters.settings import Bottleneck, Pointwise, Targets
from plora.adapters.spots import find_after, find_beside, find_modules, refuse_bypassed, refuse_inside, returned, shapes
from plora.adapters.statistics import hold_statistics
from plora.adapters.switch import Switch
from plora.errors import AdapterError, PloraWarning, did_you_mean

_ROLE_NAMES = {"q": "query", "k": "key", "v": "value", "o": "output"}
_ANSWERS_WITH_MASKS = ("class_predictor", "mask_head")
"""Modules by which a network is known that answers with masks (EoMT)."""
_ATTENTION_KEYWORD = re.compile(r"attention(:(?P<roles>[qkvo]+))?")


@dataclass(frozen=True)
class Target:
    """One layer to adapt: its path and the output slice of each site."""

    path: str
    sites: dict[str, slice]


def find_targets(model: nn.Module, targets: Targets, layers: str = "all") -> list[Target]:
    """Resolve `targets` to layers, in the network's own order.

    Args:
        model: the network.
        targets: which layers.
        layers: `all`, or `last N`: of these only the ones inside the last N repeated blocks.

    Raises:
        AdapterError: nothing matches (lists the candidates), a match cannot be adapted, or there are no N blocks.
    """
    candidates = _layers(model)
    linears = {path: layer for path, layer in candidates.items() if is_linear(layer)}
    keyword = isinstance(targets, str) and (targets in ("all_linear", "mlp") or _ATTENTION_KEYWORD.fullmatch(targets))
    if not (linears if keyword else candidates):
        raise AdapterError(f"{type(model).__name__} has no linear layer to adapt")
    if isinstance(targets, str):
        if targets == "all_linear":
            heads = _output_heads(model)
            found = [_whole(path, layer) for path, layer in linears.items() if layer not in heads]
        elif match := _ATTENTION_KEYWORD.fullmatch(targets):
            found = _attention(model, linears, match["roles"] or "qkvo")
        elif targets == "mlp":
            found = _mlp(model, linears)
        elif targets == "all_conv":
            found = _convolutions(model, candidates)
        else:
            found = _matching_regex(targets, candidates)
    else:
        found = _named(targets, model, candidates)
    found = _in_last_blocks(model, found, layers)
    for target in found:
        refuse_bypassed(model, target.path)
        if isinstance(layer := candidates[target.path], nn.Conv2d):
            window_of(layer)
    return found


def refuse_adapted(model: nn.Module) -> None:
    """Refuse a network that has adapters already: a second switch would split its slots."""
    if any(isinstance(module, Place) for module in model.modules()):
        raise AdapterError(
            "this network is adapted already; open another slot with Adapters.of(model).open_task(name, …)"
        )


def require_rank(model: nn.Module, targets: Sequence[Target], rank: int) -> None:
    """Refuse a rank that does not fit a target, before anything is changed."""
    for target in targets:
        in_features, _ = features(model.get_submodule(target.path))
        for part in target.sites.values():
            Bank(in_features, part.stop - part.start, target.path, 0).require_rank(rank)


def inject(
    model: nn.Module,
    targets: Sequence[Target],
    bottleneck: Bottleneck | None = None,
    modules: Sequence[str] = (),
    pointwise: Pointwise | None = None,
) -> None:
    """Put places into a network: banks beside layers, bottlenecks after modules, 1 × 1 convolutions beside others, and
    slots in the place of modules. Statistics of BatchNorm layers that stay frozen never move from then on.

    A module used in several places of the network is wrapped once.

    Args:
        model: changed in place.
        targets: what `find_targets` found.
        bottleneck: settings of the bottlenecks; None for none.
        modules: names of the modules of which every slot owns a copy.
        pointwise: settings of the 1 × 1 convolutions, with which BatchNorm layers are the slots' own; None for none.

    Raises:
        AdapterError: nothing to put in, a name that matches nothing, or places that would lie in each other; the
            network is as it was.
    """
    refuse_adapted(model)
    beside, norms = ([], []) if pointwise is None else find_beside(model, pointwise)
    copied = find_modules(model, modules)
    copied += [path for path in norms if path not in copied]
    for path in norms:
        refuse_inside(path, [other for other in copied if other != path])
    after = [] if bottleneck is None else find_after(model, bottleneck)
    for target in targets:
        refuse_inside(target.path, copied)
    for path in (*beside, *after):
        if path not in copied:
            refuse_inside(path, copied)
    if not (targets or after or beside or copied):
        raise AdapterError("nothing to adapt: give targets, bottlenecks or modules")
    switch = Switch()
    index = site = 0
    new: dict[nn.Module, nn.Module] = {}
    for target in targets:
        base = model.get_submodule(target.path)
        assert isinstance(base, nn.Linear | Conv1D | nn.Conv2d)
        new[base] = AdaptedLinear(base, target.path, index, target.sites, switch, site)
        index, site = index + 1, site + len(target.sites)
    for path in copied:
        base = model.get_submodule(path)
        new[base] = ModuleSlot(base, switch, path, index, site)
        index, site = index + 1, site + 1

    def put(path: str, place: BranchPlace) -> None:
        base = model.get_submodule(path)
        weight = next(base.parameters())
        new[base] = AdaptedBlock(new.get(base, base), place.to(weight.device, at_least_fp32(weight)), switch)

    for path in beside:
        assert pointwise is not None
        layer = model.get_submodule(path)
        assert isinstance(layer, nn.Conv2d)
        put(path, PointwisePlace(layer, pointwise.form, f"{path}[beside]", index, site))
        index, site = index + 1, site + 1
    for path in after:
        assert bottleneck is not None
        width, maps = returned(model, path)
        put(path, BottleneckPlace(width, maps, bottleneck, f"{path}[after]", index, site))
        index, site = index + 1, site + 1
    _replace(model, new)
    hold_statistics(model)
    _leave_fast_path(model)


def _replace(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    """Put new modules wherever the network holds the old ones."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children leaves out one that stands there twice
            if child is not None and child in new:
                setattr(parent, name, new[child])


def _leave_fast_path(model: nn.Module) -> None:
    """Make torch's own encoder layers call their adapted layers: in eval mode they multiply with weights directly."""
    for module in model.modules():
        if not any(isinstance(inner, Place) for inner in module.modules()):
            continue
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


# ---------------------------------------------------------------------- one function per way of naming


def _attention(model: nn.Module, linears: dict[str, nn.Module], roles: str) -> list[Target]:
    """The layers of attentions with these roles; with a warning that names those that no block has."""
    blocks = find_blocks(model)
    known = [role for block, _ in blocks for role in attention_roles(model, block, linears)]
    found = [target for role in known for target in _with_roles(role, linears[role.path], roles)]
    if not found:
        return _instead_of_attention(model, linears, blocks)
    _warn_if_uneven(found, [block for block, _ in blocks])
    if missing := [_ROLE_NAMES[role] for role in roles if not any(role in one.roles for one in known)]:
        others = {path for path in linears if _inside(path, blocks)} - {role.path for role in known}
        warnings.warn(
            f"no {' and '.join(missing)} projection recognised in any block of {type(model).__name__}; adapting "
            f"{shapes(target.path for target in found)}. Other layers of its blocks, to be named in targets: "
            f"{shapes(path for path in linears if path in others) or 'none'}",
            PloraWarning,
            stacklevel=2,
        )
    return found


def _with_roles(role: Role, layer: nn.Module, roles: str) -> list[Target]:
    """The target that a layer is for these roles: none, whole, or slices of a fused projection."""
    wanted = [one for one in role.roles if one in roles]
    if not wanted:
        return []
    if role.slices is not None:
        return [Target(role.path, {one: role.slices[one] for one in wanted})]
    if len(wanted) < len(role.roles):
        in_features, out_features = features(layer)
        warnings.warn(
            f"the fused projection '{role.path}' ({in_features} → {out_features}) cannot be cut into "
            f"{', '.join(role.roles[:-1])} and {role.roles[-1]}; adapting all of it",
            PloraWarning,
            stacklevel=2,
        )
    return [_whole(role.path, layer)]


def _instead_of_attention(
    model: nn.Module, linears: dict[str, nn.Module], blocks: Sequence[tuple[str, nn.Module]]
) -> list[Target]:
    """All linear layers of the blocks, with a warning; refuses a network without any."""
    inside = [_whole(path, layer) for path, layer in linears.items() if _inside(path, blocks)]
    if not inside:
        raise AdapterError(
            f"{type(model).__name__} has no attention layers that can be recognised; name the layers, or use "
            f"targets='all_linear'. Linear layers: {shapes(linears)}"
        )
    warnings.warn(
        f"no attention projections recognised in {type(model).__name__}; adapting all {len(inside)} linear layers "
        "of its blocks instead. Name the layers to choose others.",
        PloraWarning,
        stacklevel=2,
    )
    return inside


def _mlp(model: nn.Module, linears: dict[str, nn.Module]) -> list[Target]:
    blocks = find_blocks(model)
    attention = {role.path for block, _ in blocks for role in attention_roles(model, block, linears)}
    found = [
        _whole(path, layer)
        for path, layer in linears.items()
        if _inside(path, blocks) and path not in attention and "att" not in path.lower().rpartition(".")[0]
    ]
    # BERT's attention.output.dense is attention; its intermediate.dense and output.dense are the MLP.
    if not found:
        raise AdapterError(f"{type(model).__name__} has no MLP layers outside attention: {shapes(linears)}")
    return found


def _convolutions(model: nn.Module, layers: dict[str, nn.Module]) -> list[Target]:
    convolutions = {path: layer for path, layer in layers.items() if isinstance(layer, nn.Conv2d)}
    found = [_whole(path, layer) for path, layer in convolutions.items() if layer.groups == 1]
    if not found:
        raise AdapterError(f"{type(model).__name__} has no convolution without groups; layers: {shapes(layers)}")
    return found


def _named(names: Sequence[str], model: nn.Module, linears: dict[str, nn.Module]) -> list[Target]:
    found: dict[str, Target] = {}
    unmatched = []
    for name in names:
        hits = [path for path in linears if path == name or path.endswith(f".{name}")]
        if not hits:
            unmatched.append(name)
        found.update({path: _whole(path, linears[path]) for path in hits})
    known = {path.rpartition(".")[2] for path in linears}
    if not found:
        hint = did_you_mean(str(names[0]), known) if names else ""
        raise AdapterError(
            f"targets {list(names)} match no linear layer of {type(model).__name__}{hint}; "
            f"layers that can be adapted: {shapes(linears)}"
        )
    if unmatched:
        warnings.warn(
            f"targets {unmatched} match no linear layer of {type(model).__name__} and are left out "
            f"({len(found)} layers matched the rest); layers that can be adapted: {shapes(linears)}",
            PloraWarning,
            stacklevel=2,
        )
    return [found[path] for path in linears if path in found]


def _matching_regex(pattern: str, linears: dict[str, nn.Module]) -> list[Target]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise AdapterError(f"targets '{pattern}' is not a regular expression: {error}") from None
    found = [_whole(path, layer) for path, layer in linears.items() if compiled.fullmatch(path)]
    if not found:
        keywords = ("attention", "attention:qkv", "mlp", "all_linear", "all_conv")
        raise AdapterError(
            f"targets '{pattern}' matches no linear layer{did_you_mean(pattern, keywords)}. As one text it must be "
            f"{', '.join(keywords)} or a regular expression for the whole path; a list gives names. "
            f"Layers that can be adapted: {shapes(linears)}"
        )
    return found


def _in_last_blocks(model: nn.Module, found: list[Target], layers: str) -> list[Target]:
    """Those targets that are inside the blocks which `layers` says."""
    if layers == "all":
        return found
    number, blocks = int(layers.removeprefix("last ")), find_blocks(model)
    if number > len(blocks):
        raise AdapterError(
            f"layers '{layers}': {type(model).__name__} has {len(blocks) or 'no'} repeated blocks"
            + (f"; give 'last {len(blocks)}' or less, or 'all'" if blocks else "; give 'all'")
        )
    inside = [target for target in found if _inside(target.path, blocks[-number:])]
    if not inside:
        raise AdapterError(
            f"layers '{layers}': none of the {len(found)} layers that the targets match, such as '{found[0].path}', "
            f"is inside the last {number} of {len(blocks)} blocks"
        )
    return inside


# ---------------------------------------------------------------------- the network's structure


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every linear layer and convolution by its path, but for those that are adapted.

    Of a network that answers with masks those in its blocks: what embeds patches and what answers are no candidates.
    """
    found = {
        path: module
        for path, module in model.named_modules()
        if path and is_layer(module) and not any(isinstance(parent, AdaptedLinear) for parent in _parents(model, path))
    }
    if not all(hasattr(model, name) for name in _ANSWERS_WITH_MASKS):
        return found
    blocks = find_blocks(model)
    return {path: module for path, module in found.items() if _inside(path, blocks)}


def _parents(model: nn.Module, path: str) -> Iterable[nn.Module]:
    parts = path.split(".")
    for end in range(len(parts)):
        yield model.get_submodule(".".join(parts[:end]))


def _output_heads(model: nn.Module) -> set[nn.Module]:
    """Heads of `transformers` models, which `all_linear` leaves out: adapting an output head is a choice."""
    heads: set[nn.Module] = set()
    getter = getattr(model, "get_output_embeddings", None)
    if callable(getter) and isinstance(head := getter(), nn.Module):
        heads.add(head)
    base = getattr(model, "base_model", None)
    if isinstance(base, nn.Module) and base is not model:  # …ForSequenceClassification: all beside the base is head
        inside = set(base.modules())
        heads |= {module for module in model.modules() if is_linear(module) and module not in inside}
    return heads


def _whole(path: str, layer: nn.Module) -> Target:
    return Target(path, {WHOLE: slice(0, features(layer)[1])})


def _inside(path: str, blocks: Sequence[tuple[str, nn.Module]]) -> bool:
    return any(path.startswith(f"{block}.") for block, _ in blocks)


def _warn_if_uneven(found: Sequence[Target], blocks: Sequence[str]) -> None:
    """Warn of blocks without attention among others that have one; a list of feed-forward blocks has none at all."""
    counts = {block: sum(target.path.startswith(f"{block}.") for target in found) for block in blocks}
    lists = {block.rpartition(".")[0] for block, count in counts.items() if count}
    without = [block for block, count in counts.items() if count == 0 and block.rpartition(".")[0] in lists]
    if without:
        warnings.warn(
            f"no attention projections found in {len(without)} of {len(blocks)} blocks: {without[:4]}",
            PloraWarning,
            stacklevel=2,
        )
