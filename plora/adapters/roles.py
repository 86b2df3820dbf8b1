"""What the linear layers of a block are in its attention: query, key, value, output, several of them in one layer.

Names differ between networks, but an attention has a structure: the layers that make queries, keys and values stand
side by side in one module, and what maps their values back to the width of the block stands beside them or, as in
BERT, one module further out. So queries, keys and values are known by name, which says nothing about where they are,
and the output is looked for where they are.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from plora.adapters.linear import features

ROLES = "qkvo"

_SINGLE = (
    r"{r}|{role}|w{r}|to_{r}|to_{role}|{r}_proj|{r}_lin|{role}_proj|linear_{r}|project_{r}|projection_{role}|{r}_head"
)
_NAMES = {
    "q": _SINGLE.format(r="q", role="query") + r"|q_attn|q_[ab]_proj|wq_[ab]",
    "k": _SINGLE.format(r="k", role="key"),
    "v": _SINGLE.format(r="v", role="value") + r"|v_proj_(current|delayed)",
    "qk": r"query_key|qk|qk_proj|to_qk",
    "kv": r"kv|kv_proj|to_kv|wkv|key_value|kv_[ab]_proj|kv_a_proj_with_mqa|wkv_[ab]",
    "qkv": r"w_?qkv|qkv|to_qkv|c_attn|qkv_proj|att_proj|query_key_value|in_proj|in_proj_qkvz?",
}
"""Names of the last part of a path, in lower case, by the roles that the layer has."""
_OUTPUT = r"(out\w*\.)?(o|o_proj|out_proj)|out_lin|wo(_[ab])?|proj|c_proj|o_[ab]_proj|to_out(\.0)?|output\.dense"
_OUTPUT_IF_IT_FITS = (
    r"attention_out|dense|output|out|linear|linear_out|output_proj|projection|projection_layer|post|post_proj|final"
)
"""Names that say less: such a layer has to lead back from the values to the width of the block."""
_BY_HEAD = r"query_key_value|in_proj"
_BY_HEAD_IN = r"CodeGenAttention|MiniMaxLightningAttention|GPTBigCodeAttention"
"""Fused projections whose output has q, k and v of the first head, then of the second, …: it has no slice for each."""
_STATE_SPACE = r"dt_proj|x_proj|dt_bias|a_log|conv1d"
"""What stands beside the `in_proj` of a state space model, which is no attention."""


@dataclass(frozen=True)
class Role:
    """What one layer is in an attention.

    Args:
        path: of the layer.
        roles: one or several of q, k, v, o.
        slices: where each role is in its output; None where the layer has one role, or they are not side by side.
    """

    path: str
    roles: str
    slices: Mapping[str, slice] | None = None


def attention_roles(model: nn.Module, block: str, linears: Mapping[str, nn.Module]) -> list[Role]:
    """Return the layers of the attentions in one block, in the order of `linears`.

    Args:
        model: the network.
        block: path of one of its repeated blocks.
        linears: every linear layer of the network by its path.
    """
    inside = {path: layer for path, layer in linears.items() if path.startswith(f"{block}.")}
    found: dict[str, Role] = {}
    homes: dict[str, list[str]] = defaultdict(list)
    for path, layer in inside.items():
        home, leaf = _home(path)
        for roles, names in _NAMES.items():
            if re.fullmatch(names, leaf.lower()) and _is_attention(model, home, leaf, roles):
                found[path] = Role(path, roles, _slices(model, path, layer) if roles == "qkv" else None)
                homes[home].append(path)
    for home, projections in homes.items():
        found |= {path: Role(path, "o") for path in _outputs(home, block, projections, inside, found)}
    if not found:  # an attention that makes q, k and v of something else than linear layers
        strong = rf"(^|.*\.)({_OUTPUT})"
        found = {path: Role(path, "o") for path in inside if re.fullmatch(rf".*att{strong}", _inner(path, block))}
    return [found[path] for path in inside if path in found]


def _home(path: str) -> tuple[str, str]:
    """The module that a layer belongs to and its name there; a layer named `linear` has its module's name."""
    home, _, leaf = path.rpartition(".")
    if leaf == "linear" and home:
        home, _, leaf = home.rpartition(".")
    return home, leaf


def _inner(path: str, block: str) -> str:
    return path.removeprefix(f"{block}.").lower()


def _is_attention(model: nn.Module, home: str, leaf: str, roles: str) -> bool:
    """Whether a layer with such a name is part of an attention, and not of a gate or of a state space model."""
    module = model.get_submodule(home)
    beside = [name.lower() for name, _ in (*module.named_children(), *module.named_parameters(recurse=False))]
    if roles == "qkv" and any(re.fullmatch(_STATE_SPACE, name) for name in beside):
        return leaf.lower() != "in_proj"
    if roles == "qkv" and leaf.lower() == "in_proj":
        return "att" in home.lower()
    # RWKV's feed-forward part has a `key` and a `value`; a feed-forward part is none whatever its layers are called.
    return not re.search(r"(^|\.)(feed_forward|ffn|mlp|indexer|compressor)(\.|$)", home.lower())


def _slices(model: nn.Module, path: str, layer: nn.Module) -> Mapping[str, slice] | None:
    """Where q, k and v are in the output of a fused projection; None where they are not three equal slices."""
    home, leaf = _home(path)
    in_features, out_features = features(layer)
    by_head = re.fullmatch(_BY_HEAD, leaf.lower()) or re.fullmatch(
        _BY_HEAD_IN, type(model.get_submodule(home)).__name__
    )
    if by_head or out_features != 3 * in_features:  # not three: grouped queries, which differ in width
        return None
    return {role: slice(i * in_features, (i + 1) * in_features) for i, role in enumerate("qkv")}


def _outputs(
    home: str, block: str, projections: list[str], inside: Mapping[str, nn.Module], found: Mapping[str, Role]
) -> list[str]:
    """The output layers of the attention whose q, k and v stand in `home`."""
    width = max(features(inside[path])[0] for path in projections)
    values = {features(inside[path])[1] for path in projections}
    for place in (home, home.rpartition(".")[0]):
        if len(place) < len(block):
            break
        rest = {
            path: path.removeprefix(f"{place}.").removesuffix(".linear").lower()
            for path in inside
            if path.startswith(f"{place}.") and path not in found
        }
        if place == block and place != home:  # the whole block, its feed-forward part too
            rest = {path: name for path, name in rest.items() if "." not in name}
        strong = [path for path, name in rest.items() if re.fullmatch(_OUTPUT, name)]
        if strong:
            return strong
        fitting = [path for path in rest if features(inside[path])[1] == width]
        weak = [path for path in fitting if re.fullmatch(_OUTPUT_IF_IT_FITS, rest[path])]
        if weak:
            return weak
        plain = [path for path in fitting if "." not in rest[path] and features(inside[path])[0] in values]
        if place == home and home != block and len(rest) == len(plain) == 1:  # the only other layer there
            return plain
    return []
