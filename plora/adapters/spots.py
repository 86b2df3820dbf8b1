"""Find by name the modules after which bottlenecks stand, and those of which every slot owns a copy."""

import inspect
import re
from collections.abc import Iterable, Sequence
from functools import cache

from torch import nn

from plora.adapters.blocks import find_blocks, find_inner_blocks, find_stages
from plora.adapters.linear import features, is_layer
from plora.adapters.settings import Bottleneck
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
    else:
        paths = _matching(model, (after,) if isinstance(after, str) else after, "bottleneck after")
    for path in paths:
        _, maps = returned(model, path)
        if settings.form == "pooled" and not maps:
            raise AdapterError(
                f"bottleneck after '{path}': form 'pooled' takes the mean over a map, but there is no convolution in "
                "this module; choose form 'residual'"
            )
    return paths


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
