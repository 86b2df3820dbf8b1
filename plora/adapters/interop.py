"""LoRA on any network in one call, its slots on disk in PEFT's own format, and merging.

A folder written here loads with `peft.PeftModel.from_pretrained`: `adapter_config.json` and
`adapter_model.safetensors` with PEFT's key names. Several slots become one adapter, because a sum of products is a
product: Σ_k c_k s_k B_k A_k = [c_1 s_1 B_1 … c_n s_n B_n] [A_1; …; A_n], of rank Σ r_k. Fused projections are
written as PEFT sees them, one adapter on the whole layer (A of q, k, v below each other, B block-diagonal); the
header of the safetensors file keeps which rows belong to which site, so that our own slots come back as they were.

Modules of which every slot owns a copy are PEFT's `modules_to_save`. Residual adapters are nothing that PEFT knows:
they stand in files of their own beside the others (`save_slot`), in a folder that PEFT refuses, because it would leave
them out.
"""

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from plora import atomic
from plora.adapters.branch_place import BranchPlace
from plora.adapters.inject import find_targets, inject, refuse_adapted, require_rank
from plora.adapters.linear import AdaptedLinear
from plora.adapters.module_place import thaw
from plora.adapters.module_slot import ModuleSlot
from plora.adapters.places_file import DESCRIPTION_FILE, read_places, write_places
from plora.adapters.route import Route
from plora.adapters.settings import LoRA, SlotShape, Targets
from plora.adapters.slots import Adapters, Slot
from plora.adapters.weights import copy_of, names_of, sharing, untie
from plora.errors import AdapterError, PloraWarning
from plora.tensor_file import save_tensors

CONFIG_FILE, TENSOR_FILE = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_BEYOND_PEFT = "PLORA"
"""The `peft_type` of a folder with residual adapters; PEFT stops at a type that it does not know."""
_NO_TARGETS = "dummy-target-modules"
"""PEFT's own name for an adapter without a low-rank layer."""
_BEYOND_LORA = (
    "use_dora",
    "lora_bias",
    "use_qalora",
    "use_bdlora",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
)
"""Settings of PEFT that make an adapter more than ΔW = s · B A on linear layers."""
_MOVES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations (and what their names begin with) for which PEFT changes the base weight too."""
_Network = TypeVar("_Network", bound=nn.Module)
_Json = str | int | float | bool | None | list["_Json"] | dict[str, "_Json"]


def apply_lora(
    model: _Network,
    rank: int = 8,
    alpha: float = 16.0,
    targets: Targets = "attention",
    dropout: float = 0.05,
    copy: bool = True,
    init: str = "kaiming",
    rslora: bool = False,
    name: str = "default",
    layers: str = "all",
) -> _Network:
    """Return the network with a trainable low-rank slot beside each target layer, and everything else frozen.

    y = W x + b + s · B A dropout(x), B = 0 at first: the output does not change until training starts.

    Args:
        model: any `nn.Module` with linear layers.
        rank: r ≥ 1, at most the smaller side of each target layer.
        alpha: s = alpha / rank (or alpha / √rank with `rslora`).
        targets: `attention`, `attention:qkv`, `mlp`, `all_linear`, a list of names, or a regular expression.
        dropout: probability in [0, 1), applied to the adapter's input while the model is in train mode.
        copy: leave `model` as it is and work on a deep copy; False changes it in place.
        init: `kaiming` or `gauss`.
        rslora: scale by alpha / √rank.
        name: of the first slot.
        layers: `all`, or `last N` for the last N repeated blocks alone.

    Returns:
        The adapted network; `Adapters.of(network)` is the handle to its slots.

    Raises:
        AdapterError: no layer matches, a rank too large, fewer than N blocks, or the network is adapted already.

    Source: Hu et al. 2021 (arXiv 2106.09685).
    """
    refuse_adapted(model)
    settings = {"rank": rank, "alpha": alpha, "dropout": dropout, "init": init, "rslora": rslora, "layers": layers}
    try:
        lora = LoRA.model_validate(settings)
    except ValueError as error:
        raise AdapterError(f"apply_lora: {str(error).splitlines()[1]}: {str(error).splitlines()[2].strip()}") from None
    found = find_targets(model, targets, lora.layers)
    require_rank(model, found, rank)  # before the first change: a refusal leaves `model` as it was
    network = copy_of(model) if copy else model
    network.requires_grad_(False)
    inject(network, found)
    Adapters(network).open_task(name, lora)
    return network


def save_lora(model: nn.Module, folder: str | Path, name: str | None = None) -> None:
    """Write one slot, or all slots in use as their sum, as one PEFT adapter folder.

    Args:
        model: an adapted network.
        folder: is made where needed; its two files are replaced atomically.
        name: the slot; by default the slots in use (`Adapters.use`), with their coefficients, as one adapter.

    Raises:
        AdapterError: no slot is in use, the coefficients in force differ per sample or token, or mix slots, or the
            network has places that PEFT knows nothing of.
    """
    adapters = Adapters.of(model)
    route = adapters.switch.route if name is None else Route((adapters[name].name,))
    save_route(adapters, route, Path(folder))


def load_lora(model: nn.Module, folder: str | Path, name: str = "default") -> Slot:
    """Read a PEFT adapter folder into a committed slot of an adapted network (in place), and let it take part.

    Modules that PEFT saved whole beside the adapter (`modules_to_save`, such as a classifier) are no part of a slot:
    they are loaded into `model` itself, where all slots share them and a later folder replaces them. Those that
    `model` does not have are left out with a warning that names them. Where such a module shares its weight with
    another one that was not saved (an output layer tied to the embedding), it gets a weight of its own, as with PEFT.

    Args:
        model: an adapted network.
        folder: written by `save_lora` or by PEFT.
        name: of the new slot.

    Returns:
        The slot.

    Raises:
        AdapterError: the folder is not an adapter, is more than low-rank (DoRA, trained biases, …), was made for
            other layers, or the name belongs to a slot that has learned something.
    """
    adapters = Adapters.of(model)
    found, others, saved = _read_slot(adapters, Path(folder))
    modules = _modules_to_load(model, saved, Path(folder))  # before the first change: a refusal changes nothing
    if name in adapters and name == adapters.open_name:  # the slot that apply_lora opened
        if adapters.others or any(bool(B.any()) for B in adapters[name].B.values()):
            raise AdapterError(f"slot '{name}' is being trained; commit or delete it, or load under another name")
        adapters.delete(name)
    slot = adapters.append(name, found, others)
    for path, tensor in modules.items():
        _untie_from_others(model, path, tensor, modules)
    model.load_state_dict(modules, strict=False)
    adapters.use_newest()
    return slot


def merge_lora(model: _Network, copy: bool = True) -> _Network:
    """Return the plain network with the slots in use added to its weights: W + Σ c_k s_k B_k A_k, in fp32.

    A module of which the slot in use has a copy is replaced by that copy.

    Args:
        model: an adapted network; its route in force (`Adapters.use`) says which slots are merged.
        copy: leave `model` as it is; False merges in place and removes the adapters.

    Raises:
        AdapterError: the coefficients in force differ per sample or token, or mix slots, or the network has places that
            no weight can take in.
    """
    if reason := Adapters.of(model).cannot("foldable"):
        raise AdapterError(f"the slots in use cannot be merged: {reason}")
    network = copy_of(model) if copy else model
    adapters = Adapters.of(network)
    route = adapters.switch.route
    adapters.require(route)
    for layer in adapters.layers:
        weight = layer.effective_weight(layer.fixed_coefficients(route, "merged weight"))
        path = next(path for path, module in network.named_modules() if module is layer.base)
        untie(network, f"{path}.weight")  # merging must not move the embedding that shares this weight
        layer.base.weight.data.copy_(layer.in_layout(weight))
    plain: dict[nn.Module, nn.Module] = {layer: layer.base for layer in adapters.layers}
    plain |= {place: _plain(place, route) for place in adapters.others.values() if isinstance(place, ModuleSlot)}
    for path, module in list(network.named_modules(remove_duplicate=False)):
        if module in plain:
            parent, _, child = path.rpartition(".")
            setattr(network.get_submodule(parent), child, plain[module])
    return network


def _plain(place: ModuleSlot, route: Route) -> nn.Module:
    """The module that runs under a route, as the network had it: with parameters, in its own type."""
    name = place.chosen(route)
    if name is None:
        return place.base
    module = place.module(name)
    if name != place.open_name:
        thaw(module, [path for path, _ in place.base.named_parameters(remove_duplicate=False)])
    if place.held_in is not None:
        module.to(place.held_in[1])
    return module.requires_grad_(False)


# ---------------------------------------------------------------------- slots on disk


def save_slot(adapters: Adapters, slot: Slot, folder: Path, base_model: str = "") -> list[Path]:
    """Write `slot` to `folder` in PEFT's format, each file atomically, the tensors last; return the files.

    What PEFT has no format for goes into files beside it, and PEFT then refuses the folder.
    """
    written: list[Path] = []
    branches = {path: place for path, place in adapters.others.items() if isinstance(place, BranchPlace)}
    if branches:
        written += write_places(branches, slot.name, folder)
    kind = "LORA" if not branches else _BEYOND_PEFT
    return written + _write_adapter(adapters, Route((slot.name,)), folder, base_model, kind)


def save_route(
    adapters: Adapters, route: Route, folder: Path, base_model: str = "", task_type: str | None = None
) -> None:
    """Write the slots of a route as one adapter in PEFT's format, each file atomically, the tensors last.

    Args:
        adapters: that hold the slots.
        route: one slot, or several; what differs in their coefficients and scales goes into B.
        folder: is made where needed.
        base_model: hub id or folder of the network that the adapter belongs to.
        task_type: what PEFT calls what the network does, such as `CAUSAL_LM`; None says nothing of it.

    Raises:
        AdapterError: the route names no slot, its coefficients differ per sample or token, or mix slots, or there are
            places that PEFT knows nothing of, or convolutions of which it forgets something.
    """
    if not route.slots:
        raise AdapterError("no slot takes part, so there is no adapter to save; name a slot, or use(…) some first")
    if reason := adapters.cannot("export"):
        raise AdapterError(f"this is no adapter for PEFT: {reason}")
    for layer in adapters.layers:
        if layer.window is not None and layer.window.dilation != (1, 1):
            raise AdapterError(
                f"this is no adapter for PEFT: it leaves out the dilation {layer.window.dilation} of convolution "
                f"'{layer.path}', and would give other outputs; merge the slots, or save them with save_slot"
            )
    adapters.require(route)
    for layer in adapters.layers:
        _require_one_name(adapters, layer, "this is no adapter for PEFT")
    _write_adapter(adapters, route, folder, base_model, "LORA", _of_like_name(adapters, route), task_type)


def _require_one_name(adapters: Adapters, layer: AdaptedLinear, what: str) -> None:
    """Refuse a layer that the network has under several names, of which PEFT adapts the first alone."""
    if len(names := names_of(adapters.network, layer)) > 1:
        raise AdapterError(
            f"{what}: '{names[0]}' and '{names[1]}' are one layer, of which PEFT would adapt '{names[0]}' alone; merge "
            "the slots (merge_lora), or save them with save_slot, which plora reads"
        )


def _of_like_name(adapters: Adapters, route: Route) -> dict[str, Tensor]:
    """By path the tensors of modules that PEFT copies too, where the name of a copied one ends theirs (`classifier` and
    `pre_classifier`): as they are.
    """
    copied = _copied(adapters, route)
    taken = (ModuleSlot, AdaptedLinear)
    inside = [path for path, module in adapters.network.named_modules() if isinstance(module, taken)]
    found: dict[str, Tensor] = {}
    for path, module in adapters.network.named_modules():
        alike = next((name for name in copied if path.endswith(name) and path not in copied), None)
        if alike is None or any(path.startswith(f"{outer}.") for outer in inside):
            continue
        if any(isinstance(inner, taken) for inner in module.modules()):
            raise AdapterError(
                f"this is no adapter for PEFT: it would take '{path}' for '{alike}', because their names end alike, "
                "and both are adapted; save the slots with save_slot, which plora reads"
            )
        found |= {f"{path}.{name}": tensor for name, tensor in module.state_dict().items()}
    return found


def _copied(adapters: Adapters, route: Route) -> dict[str, str]:
    """By path, which slot's copy runs in each module slot under a route; those where the pristine module runs not."""
    places = {path: place for path, place in adapters.others.items() if isinstance(place, ModuleSlot)}
    return {path: name for path, place in places.items() if (name := place.chosen(route)) is not None}


def _write_adapter(
    adapters: Adapters,
    route: Route,
    folder: Path,
    base_model: str,
    peft_type: str,
    beside: Mapping[str, Tensor] | None = None,
    task_type: str | None = None,
) -> list[Path]:
    """Write config and tensors, and return their files; `beside` are tensors by path that are no slot's."""
    tensors = {f"{_PREFIX}{path}": tensor for path, tensor in (beside or {}).items()}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    own: dict[str, _Json] = {}
    for layer in adapters.layers:
        coefficients = layer.fixed_coefficients(route, "adapter")
        # Slots of one scale, summed, keep their B bit for bit: it is the adapter's scale.
        scale = layer.all_banks[0].shape(route.slots[0]).scale or 1.0
        A, B = _as_one_adapter(layer, coefficients, scale)
        ranks[layer.path], alphas[layer.path] = len(A), scale * len(A)
        if layer.window is not None:  # as two convolutions
            A, B = A.view(len(A), layer.window.channels, *layer.window.size), B[:, :, None, None]
        tensors[f"{_PREFIX}{layer.path}.lora_A.weight"] = A
        tensors[f"{_PREFIX}{layer.path}.lora_B.weight"] = B
        own[layer.path] = {
            "scale": scale,  # alpha / rank need not give back the same float
            "sites": {site: sum(layer.bank(site).shape(name).rank for name in route.slots) for site in layer.sites},
        }
    copied = _copied(adapters, route)
    for path, name in copied.items():
        tensors |= {f"{_PREFIX}{path}.{key}": tensor for key, tensor in adapters.others[path].tensors(name).items()}
    rank, alpha = next(iter(ranks.values()), 1), next(iter(alphas.values()), 1.0)
    config: dict[str, atomic.JsonValue] = {
        "peft_type": peft_type,
        "task_type": task_type,
        "base_model_name_or_path": base_model,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted(ranks) or _NO_TARGETS,
        "rank_pattern": {_exactly(path): value for path, value in ranks.items() if value != rank},
        "alpha_pattern": {_exactly(path): value for path, value in alphas.items() if value != alpha},
        "use_rslora": False,
        "fan_in_fan_out": bool(adapters.layers) and adapters.layers[0].transposed,
        "bias": "none",
        "init_lora_weights": True,
        "inference_mode": True,
    }
    if copied:
        config["modules_to_save"] = sorted(copied)
    atomic.write_json(folder / CONFIG_FILE, config)
    save_tensors(folder / TENSOR_FILE, tensors, {"format": "pt", "plora": json.dumps(own)})
    return [folder / CONFIG_FILE, folder / TENSOR_FILE]


def _exactly(path: str) -> str:
    """A key of PEFT's patterns for one layer: they are regular expressions that match the end of a path."""
    return f"^{re.escape(path)}"


def load_slot(adapters: Adapters, name: str, folder: Path) -> Slot:
    """Read a slot that `save_slot` or PEFT wrote, as a committed slot `name`."""
    found, others, saved = _read_slot(adapters, folder)
    if saved:
        raise AdapterError(f"{folder} holds more than a slot: '{next(iter(saved))}'; read it with load_lora")
    return adapters.append(name, found, others)


def _read_slot(
    adapters: Adapters, folder: Path
) -> tuple[dict[str, tuple[SlotShape, Tensor, Tensor]], dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """By the path of each bank: shape, A `[r, I]`, B `[O, r]`; of each other place: its tensors; and by their path
    those tensors of `modules_to_save` that no slot owns.
    """
    config, tensors, own = _read_adapter(folder)
    others = read_places(adapters.others, folder)
    saved = {key: tensors.pop(key) for key in list(tensors) if _is_saved_whole(key, config)}
    tensors = _without_copies(adapters, tensors, folder)
    stored = [key.removesuffix(".lora_A.weight") for key in tensors if key.endswith(".lora_A.weight")]
    found: dict[str, tuple[SlotShape, Tensor, Tensor]] = {}
    for layer in adapters.layers:
        if not own:
            _require_one_name(adapters, layer, f"{folder} cannot be read")
        try:
            A = tensors.pop(f"{_PREFIX}{layer.path}.lora_A.weight").float()
            B = tensors.pop(f"{_PREFIX}{layer.path}.lora_B.weight").float()
        except KeyError:
            raise AdapterError(
                f"{folder}: no adapter for layer '{layer.path}'; it was made for other targets "
                f"({config.get('target_modules')}) or another network: its first layer is "
                f"'{next(iter(stored), '').removeprefix(_PREFIX)}'"
            ) from None
        if layer.window is not None and B.dim() == 4:
            _require_window(layer, A, folder)
            A, B = A.flatten(1), B.flatten(1)
        _require_fit(layer, A, B, folder)
        ours = own.get(layer.path)
        scale = ours.scale if ours else _scale(config, layer.path, len(A))
        # An adapter that was not made for these sites (PEFT's on a fused layer): every site shares its A.
        same_sites = ours is not None and ours.sites.keys() == layer.sites.keys()
        ranks = ours.sites if ours and same_sites else dict.fromkeys(layer.sites, len(A))
        row = 0
        for site, part in layer.sites.items():
            end = row + ranks[site]
            rows = (A[row:end].contiguous(), B[part, row:end].contiguous())
            found[layer.bank(site).path] = (SlotShape(ranks[site], scale), *rows)
            row = end if same_sites else 0
    if embedding := next((key for key in tensors if ".lora_embedding_" in key), None):
        path = embedding.removeprefix(_PREFIX).partition(".lora_embedding_")[0]
        raise AdapterError(
            f"{folder}: it adapts the embedding '{path}', and slots stand beside linear layers and convolutions alone; "
            "merge it with PEFT (merge_and_unload), save the network, and start from that"
        )
    if tensors:
        raise AdapterError(
            f"{folder}: {len(tensors)} tensors belong to layers that are not adapted here, such as "
            f"'{next(iter(tensors))}'; inject the targets that the adapter was trained with"
        )
    saved = {key.removeprefix(_PREFIX): tensor for key, tensor in saved.items()}
    for path, place in adapters.others.items():
        if isinstance(place, ModuleSlot):
            mine = [key for key in saved if key.startswith(f"{path}.")]
            if mine:
                others[path] = {key.removeprefix(f"{path}."): saved.pop(key) for key in mine}
    return found, others, saved


def _is_saved_whole(key: str, config: Mapping[str, _Json]) -> bool:
    """Whether a tensor lies inside one of `modules_to_save`; PEFT compares the ends of module paths."""
    names = config.get("modules_to_save")
    if ".lora_" in key or not isinstance(names, list):
        return False
    parts = key.removeprefix(_PREFIX).split(".")
    paths = [".".join(parts[:end]) for end in range(1, len(parts))]
    return any(path.endswith(str(name)) for path in paths for name in names)


def _modules_to_load(model: nn.Module, saved: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Those tensors of `modules_to_save` that the network has a place for."""
    state = model.state_dict()
    for path, tensor in saved.items():
        if path in state and state[path].shape != tensor.shape:
            raise AdapterError(
                f"{folder}: '{path}', saved whole beside the adapter, is {list(tensor.shape)}, but in this network "
                f"{list(state[path].shape)}; make the network as it was for training (num_labels?)"
            )
    if absent := [path for path in saved if path not in state]:
        warnings.warn(
            f"{folder}: {', '.join(absent)} saved whole beside the adapter (modules_to_save); "
            f"{type(model).__name__} has no such modules, they are left out",
            PloraWarning,
            stacklevel=3,
        )
    return {path: tensor for path, tensor in saved.items() if path in state}


def _untie_from_others(model: nn.Module, path: str, tensor: Tensor, modules: Mapping[str, Tensor]) -> None:
    """Give what is loaded whole a memory of its own, unless all that share its weight get the same values."""
    if path not in dict(model.named_parameters(remove_duplicate=False)):
        return
    others = [modules.get(other) for other in sharing(model, model.get_parameter(path)) if other != path]
    if any(other is None or not torch.equal(other, tensor) for other in others):
        untie(model, path)


def _without_copies(adapters: Adapters, tensors: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """The tensors of an adapter without copies of pretrained weights, which PEFT writes beside adapters of embeddings
    and output layers.
    """
    parameters = dict(adapters.network.named_parameters(remove_duplicate=False))
    kept = {}
    for key, tensor in tensors.items():
        path, _, name = key.removeprefix(_PREFIX).rpartition(".")
        path = path.removesuffix(".base_layer")
        own = parameters.get(f"{path}.{name}", parameters.get(f"{path}.base.{name}"))
        if ".lora_" in key or own is None:
            kept[key] = tensor
        elif own.shape != tensor.shape or not torch.equal(own.detach().cpu(), tensor.to(own.dtype)):
            raise AdapterError(
                f"{folder}: beside the adapter it holds '{path}.{name}' whole {list(tensor.shape)}, another than this "
                f"network's {list(own.shape)} (save_embedding_layers of PEFT, after tokens were added?); load it into "
                "the network first, or save the adapter with save_embedding_layers=False"
            )
    return kept


def _require_window(layer: AdaptedLinear, A: Tensor, folder: Path) -> None:
    """Refuse an adapter of a convolution with another kernel."""
    assert layer.window is not None
    if list(A.shape[1:]) != [layer.window.channels, *layer.window.size]:
        raise AdapterError(
            f"{folder}, layer '{layer.path}': A {list(A.shape)} does not fit a convolution of "
            f"{layer.window.channels} channels with a kernel of {list(layer.window.size)}"
        )


def _require_fit(layer: AdaptedLinear, A: Tensor, B: Tensor, folder: Path) -> None:
    """Refuse an adapter of another shape, and one that reaches outputs which no site of this layer has."""
    if A.dim() != 2 or A.shape[1] != layer.in_features or B.shape != (layer.out_features, len(A)):
        raise AdapterError(
            f"{folder}, layer '{layer.path}': A {list(A.shape)} and B {list(B.shape)} do not fit a layer with "
            f"{layer.in_features} inputs and {layer.out_features} outputs"
        )
    outside = torch.ones(len(B), dtype=torch.bool)
    for part in layer.sites.values():
        outside[part] = False
    if B[outside].any():
        raise AdapterError(
            f"{folder}: the adapter of layer '{layer.path}' changes more of its output than {list(layer.sites)}; "
            "inject the targets that it was trained with"
        )


def _as_one_adapter(
    layer: AdaptedLinear, coefficients: Mapping[str, Mapping[str, float]], scale: float
) -> tuple[Tensor, Tensor]:
    """A `[N, I]` and B `[O, N]` with scale · B A = Σ_k c_k ΔW_k, the slots of each site below each other."""
    A_parts, B_parts = [], []
    for site, part in layer.sites.items():
        bank = layer.bank(site)
        for name, c in coefficients[site].items():
            A, rows = bank.rows(name)
            B = A.new_zeros(layer.out_features, len(A))
            B[part] = rows.detach().T * (c * bank.shape(name).scale / scale)
            A_parts.append(A.detach())
            B_parts.append(B)
    return torch.cat(A_parts).cpu().contiguous(), torch.cat(B_parts, dim=1).cpu().contiguous()


class _Own(BaseModel):
    """What our own files say of one layer beyond PEFT's format: the exact scale, and the rank of each site."""

    scale: float
    sites: dict[str, int]


def _read_adapter(folder: Path) -> tuple[dict[str, _Json], dict[str, Tensor], dict[str, _Own]]:
    for file in (CONFIG_FILE, TENSOR_FILE):
        if not (folder / file).is_file():
            inside = sorted(path.parent.name for path in folder.glob(f"*/{file}"))  # PEFT's, of a named adapter
            hint = f"; its folder '{inside[0]}' has one, give {folder / inside[0]}" if inside else ""
            raise AdapterError(f"{folder} is not a LoRA adapter folder: it has no {file}{hint}")
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        with safe_open(folder / TENSOR_FILE, framework="pt") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
        stored = dict(json.loads(metadata.get("plora", "{}")))
        own = {path: _Own.model_validate(value) for path, value in stored.items()}
    except (ValueError, TypeError, OSError, SafetensorError) as error:
        raise AdapterError(f"{folder}: the adapter cannot be read ({error}); copy it again from its source") from None
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind not in ("LORA", _BEYOND_PEFT):
        raise AdapterError(f"{folder}: peft_type is {kind!r}, expected 'LORA'")
    if kind == _BEYOND_PEFT and not (folder / DESCRIPTION_FILE).is_file():
        raise AdapterError(
            f"{folder}: it has no {DESCRIPTION_FILE}, so its residual adapters are missing; copy it again"
        )
    _refuse_more_than_lora(config, folder)
    return config, tensors, own


def _refuse_more_than_lora(config: Mapping[str, _Json], folder: Path) -> None:
    """Refuse settings under which ΔW = s · B A on the pretrained weight would silently be another function."""
    keys = [key for key in _BEYOND_LORA if config.get(key)]
    keys += ["bias"] if config.get("bias", "none") != "none" else []
    keys += ["init_lora_weights"] if str(config.get("init_lora_weights")).startswith(_MOVES_THE_BASE) else []
    if keys:
        found = ", ".join(f"{key}={config[key]!r}" for key in keys)
        raise AdapterError(
            f"{folder}: {CONFIG_FILE} says {found}, but a slot is ΔW = s · B A on the pretrained weight and nothing "
            "else; merge the adapter with PEFT (merge_and_unload), save the network, and start from that"
        )


def _scale(config: Mapping[str, _Json], path: str, rank: int) -> float:
    alpha = config.get("lora_alpha")
    patterns = config.get("alpha_pattern")
    for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
        if re.match(rf"(.*\.)?({pattern})$", path):  # as PEFT reads its keys; the first that matches counts
            alpha = value
            break
    if not isinstance(alpha, int | float):
        raise AdapterError(f"adapter_config.json: lora_alpha is {alpha!r}, expected a number")
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)
