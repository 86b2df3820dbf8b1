"""Find the modules after or beside which residual adapters stand, and those of which every slot owns a copy."""

import inspect
import re
from collections.abc import Iterable, Sequence
from functools import cache

from torch import nn

from plora.adapters.blocks import find_blocks, find_inner_blocks, find_stages
from plora.adapters.linear import features, is_layer, is_linear
from plora.adapters.roles import attention_roles
from plora.adapters.settings import Bottleneck, Pointwise
from plora.errors import AdapterError, did_you_mean


def find_after(model: nn.Module, settings: Bottleneck) -> list[str]:
    """Return paths of the modules after which bottlenecks stand, in the network's order.

    Raises:
        AdapterError: there are none, or one of them is not called as a module, or returns what is not known.
    """
    after = settings.after
    if after in ("block", "stage"):
        found = find_inner_blocks(model) if after == "block" else find_stages(model) or find_blocks(model)
        if not found:
            raise AdapterError(
                f"bottleneck after '{after}': {type(model).__name__} has no repeated blocks; name others. "
                f"{_named(model)}"
            )
        paths = [path for path, _ in found]
    elif after == "sublayer":
        paths = _sublayers(model)
    else:
        paths = _matching(model, (after,) if isinstance(after, str) else after, "bottleneck after")
    paths = _in_stages(model, paths, settings.stages, "bottleneck")
    for path in paths:
        _, maps = returned(model, path)
        if settings.form == "pooled" and not maps:
            raise AdapterError(
                f"bottleneck after '{path}': form 'pooled' takes the mean over a map, but there is no convolution in "
                "this module; choose form 'residual'"
            )
    return paths


def find_beside(model: nn.Module, settings: Pointwise) -> tuple[list[str], list[str]]:
    """Return paths of the convolutions beside which 1 × 1 ones stand, and of the BatchNorm layers that go with them.

    Raises:
        AdapterError: there are no such convolutions, or a path that reads their input would have outputs of another
            size.
    """
    layers = {path: layer for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    if settings.beside == "block":
        blocks = [block for block, _ in find_blocks(model)]
        larger = [path for path, layer in layers.items() if max(layer.kernel_size) > 1]
        paths = [path for path in larger if any(path.startswith(f"{block}.") for block in blocks)]
        if not paths:
            raise AdapterError(
                f"pointwise beside 'block': {type(model).__name__} has no convolution larger than 1 × 1 in repeated "
                f"blocks; name others. {_named(model)}"
            )
    else:
        names = (settings.beside,) if isinstance(settings.beside, str) else settings.beside
        paths = _matching(model, names, "pointwise beside")
        if others := [path for path in paths if path not in layers]:
            raise AdapterError(
                f"pointwise beside '{others[0]}', a {type(model.get_submodule(others[0])).__name__}; name convolutions"
            )
    paths = _in_stages(model, paths, settings.stages, "pointwise")
    for path in paths:
        if settings.form == "parallel" and not _keeps_positions(layers[path]):
            raise AdapterError(
                f"pointwise beside '{path}': with kernel {layers[path].kernel_size} and padding {layers[path].padding} "
                "its output has other positions than its input; use form 'series', or name other convolutions"
            )
    norms = [path for path, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    within = norms if settings.stages is None else _inside(norms, _stages(model, settings.stages, "pointwise"))
    return paths, within


def _keeps_positions(layer: nn.Conv2d) -> bool:
    """Whether a convolution pads so that it stops at every position of its input, or at every n-th."""
    if isinstance(layer.padding, str):
        return layer.padding == "same"
    reach = [step * (size - 1) for step, size in zip(layer.dilation, layer.kernel_size, strict=True)]
    return [2 * pad for pad in layer.padding] == reach


def _sublayers(model: nn.Module) -> list[str]:
    """The output projection of each attention, and the layer with which each MLP returns to the width of its block."""
    linears = {path: layer for path, layer in model.named_modules() if path and is_linear(layer)}
    found: list[str] = []
    for block, _ in find_inner_blocks(model):
        roles = {role.path: role.roles for role in attention_roles(model, block, linears)}
        outputs = [path for path, names in roles.items() if names == "o"]
        widths = {features(linears[path])[1] for path in outputs}
        inside = _inside(linears, [block])
        rest = [path for path in inside if path not in roles and "att" not in path.removeprefix(block).lower()]
        last = [path for path in rest if features(linears[path])[1] in widths]
        back = [path for path in last if features(linears[path])[0] not in widths] or last[-1:]
        found += [path for path in inside if path in outputs or path in back]
    if not found:
        raise AdapterError(
            f"bottleneck after 'sublayer': no attention recognised in any block of {type(model).__name__}; name the "
            f"layers after which it should stand. {_named(model)}"
        )
    for path in found:
        refuse_bypassed(model, path)
    return found


def _stages(model: nn.Module, numbers: Sequence[int], what: str) -> list[str]:
    """Paths of some stages, counted from 1."""
    stages = [path for path, _ in find_stages(model)]
    if max(numbers) > len(stages):
        raise AdapterError(
            f"{what}.stages {list(numbers)}: {type(model).__name__} has {len(stages) or 'no'} stages"
            + (f"; give numbers from 1 to {len(stages)}" if stages else "; leave stages out")
        )
    return [stages[number - 1] for number in numbers]


def _in_stages(model: nn.Module, paths: list[str], numbers: Sequence[int] | None, what: str) -> list[str]:
    """Those of some paths that are a stage with one of these numbers, or lie in one."""
    if numbers is None:
        return paths
    found = _inside(paths, _stages(model, numbers, what))
    if not found:
        raise AdapterError(f"{what}: none of the modules, such as '{paths[0]}', lies in stages {list(numbers)}")
    return found


def _inside(paths: Iterable[str], outer: Sequence[str]) -> list[str]:
    return [path for path in paths if any(path == one or path.startswith(f"{one}.") for one in outer)]


def find_modules(model: nn.Module, names: Sequence[str]) -> list[str]:
    """Return paths of the modules that `names` name, in the network's order; each by the last parts of its path, or by
    a regular expression for all of it.

    Raises:
        AdapterError: a name matches nothing, a match is not called as a module, has no parameters, or lies in another.
    """
    paths = _matching(model, names, "modules")
    for path in paths:
        if not any(True for _ in model.get_submodule(path).parameters()):
            raise AdapterError(f"modules: '{path}' has no parameters, so that its copies would all be alike")
        refuse_inside(path, [other for other in paths if other != path])
    return paths


def refuse_inside(path: str, copied: Iterable[str]) -> None:
    """Refuse a spot that lies in a module of which every slot owns a copy: it would be copied with it."""
    for outer in copied:
        if path == outer or path.startswith(f"{outer}."):
            raise AdapterError(
                f"'{path}' lies in '{outer}', of which every slot owns a copy; adapt either the one or the other"
            )


def returned(model: nn.Module, path: str) -> tuple[int, bool]:
    """Return how many features a module returns, and whether it does so in maps `[B, d, H, W]`.

    The last of its layers says how many, and any convolution in it that it works on maps.
    """
    layers = [inner for inner in model.get_submodule(path).modules() if is_layer(inner)]
    if not layers:
        raise AdapterError(
            f"bottleneck after '{path}': no linear layer or convolution in it says how many features it returns; "
            "name a module that has one"
        )
    return features(layers[-1])[1], any(isinstance(layer, nn.Conv2d) for layer in layers)


def shapes(paths: Iterable[str]) -> str:
    """Return the distinct shapes of paths, with block numbers replaced by N: short, and complete."""
    distinct = list(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)", "N", path) for path in paths))
    shown = distinct[:24]
    return ", ".join(shown) + (f", … ({len(distinct) - len(shown)} more)" if len(distinct) > len(shown) else "")


def refuse_bypassed(model: nn.Module, path: str) -> None:
    """Refuse a layer that its parent multiplies with by itself."""
    parent = model.get_submodule(path.rpartition(".")[0])
    if isinstance(parent, nn.MultiheadAttention):
        raise AdapterError(
            f"'{path}' belongs to nn.MultiheadAttention, which multiplies with its weights directly and would bypass "
            "the adapter; use a network with separate projections, or leave this layer out of targets"
        )
    kind: type[nn.Module] = type(parent)
    name = path.rpartition(".")[2]
    if name in _never_called(kind):  # type: ignore[arg-type]  # nn.Module hides that a class has a hash
        raise AdapterError(
            f"'{path}': {kind.__name__} multiplies with the weight of this layer directly and would bypass the "
            f"adapter; leave it out of targets, by naming others: {shapes(_beside(model, path))}"
        )


def _beside(model: nn.Module, path: str) -> list[str]:
    """The linear layers of the network but for those of one name."""
    name = path.rpartition(".")[2]
    linears = [other for other, module in model.named_modules() if other and is_layer(module)]
    return [other for other in linears if other.rpartition(".")[2] != name]


@cache
def _never_called(kind: type[nn.Module]) -> frozenset[str]:
    """Attributes of which the code of a class reads the weight, and which it neither calls nor gives away."""
    methods = {
        name: inspect.unwrap(value)
        for one in reversed(kind.__mro__)
        if issubclass(one, nn.Module) and one is not nn.Module
        for name, value in vars(one).items()
        if inspect.isfunction(value) and "init" not in name
    }
    names = [getattr(getattr(method, "__code__", None), "co_names", ()) for method in methods.values()]
    if not any("weight" in used for used in names):
        return frozenset()
    try:
        code = "\n".join(inspect.getsource(method) for method in methods.values())
    except (OSError, TypeError):  # made without a file
        return frozenset()
    read = re.findall(r"\bself\.(\w+)\.weight\b(?!\.(?:dtype|device|shape|data))", code)
    return frozenset(name for name in read if not re.search(rf"\bself\.{name}\b(?!\.)", code))


def _matching(model: nn.Module, names: Sequence[str], what: str) -> list[str]:
    paths = _paths(model)
    found: set[str] = set()
    for name in names:
        hits = [path for path in paths if path == name or path.endswith(f".{name}")] or _regex(name, paths)
        if not hits:
            hint = did_you_mean(name, {*paths, *(path.rpartition(".")[2] for path in paths)})
            raise AdapterError(f"{what} '{name}' matches no module of {type(model).__name__}{hint}. {_named(model)}")
        found.update(hits)
    for path in found:
        refuse_bypassed(model, path)
        if isinstance(model.get_submodule(path), nn.ModuleList | nn.ModuleDict):
            raise AdapterError(f"{what} '{path}', a list of modules that is not called itself; name its members")
    chosen: dict[nn.Module, str] = {}  # a module with two paths is one spot
    for path in paths:
        if path in found:
            chosen.setdefault(model.get_submodule(path), path)
    return list(chosen.values())


def _regex(pattern: str, paths: Sequence[str]) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error:
        return []
    return [path for path in paths if compiled.fullmatch(path)]


def _named(model: nn.Module) -> str:
    """The modules that have a name of their own, and not a number alone."""
    return f"Modules: {shapes(path for path in _paths(model) if not path.rpartition('.')[2].isdecimal())}"


def _paths(model: nn.Module) -> list[str]:
    return [path for path, _ in model.named_modules(remove_duplicate=False) if path]
