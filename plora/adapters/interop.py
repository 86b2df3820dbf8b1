"""LoRA on any network in one call, its slots on disk in PEFT's own format, and merging.

A file written here loads with `peft.PeftModel.from_pretrained`: `adapter_config.json` and
`adapter_model.safetensors` with PEFT's key names. Fused projections are written as PEFT sees them, one adapter on
the whole layer (A of q, k, v below each other, B block-diagonal); the header of the safetensors file keeps which
rows belong to which site, so that our own slots come back as they were.
"""

import copy as copying
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from plora import atomic
from plora.adapters.bank import SlotShape
from plora.adapters.inject import Targets
from plora.adapters.linear import AdaptedLinear
from plora.adapters.slots import Adapters, LoRA, Slot
from plora.errors import AdapterError

CONFIG_FILE, TENSOR_FILE = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_Network = TypeVar("_Network", bound=nn.Module)


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

    Returns:
        The adapted network; `Adapters.of(network)` is the handle to its slots.

    Raises:
        AdapterError: no layer matches, a rank too large, or the network is adapted already.

    Source: Hu et al. 2021 (arXiv 2106.09685).
    """
    if any(isinstance(module, AdaptedLinear) for module in model.modules()):
        raise AdapterError(
            "this network is adapted already; open another slot with Adapters.of(model).open_task(name, …)"
        )
    settings = {"rank": rank, "alpha": alpha, "dropout": dropout, "init": init, "rslora": rslora}
    try:
        lora = LoRA.model_validate(settings)
    except ValueError as error:
        raise AdapterError(f"apply_lora: {str(error).splitlines()[1]}: {str(error).splitlines()[2].strip()}") from None
    network = copying.deepcopy(model) if copy else model
    adapters = Adapters.inject(network, targets)
    adapters.open_task(name, lora)
    return network


def save_lora(model: nn.Module, folder: str | Path, name: str | None = None) -> None:
    """Write one slot as a PEFT adapter folder.

    Args:
        model: an adapted network.
        folder: is made where needed; its two files are replaced atomically.
        name: the slot; by default the only one.
    """
    adapters = Adapters.of(model)
    save_slot(adapters, adapters[name or _only(adapters)], Path(folder))


def load_lora(model: nn.Module, folder: str | Path, name: str = "default") -> Slot:
    """Read a PEFT adapter folder into a committed slot of an adapted network (in place), and let it take part.

    Raises:
        AdapterError: the folder is not an adapter, or was made for other layers.
    """
    adapters = Adapters.of(model)
    if name in adapters and name == adapters.open_name:  # the untrained slot that apply_lora opened
        adapters.delete(name)
    slot = load_slot(adapters, name, Path(folder))
    adapters.use(adapters.names)
    return slot


def merge_lora(model: _Network, copy: bool = True) -> _Network:
    """Return the plain network with the slots in use added to its weights: W + Σ c_k s_k B_k A_k, in fp32.

    Args:
        model: an adapted network; its route in force (`Adapters.use`) says which slots are merged.
        copy: leave `model` as it is; False merges in place and removes the adapters.

    Raises:
        AdapterError: the coefficients in force differ per sample or token, or mix slots.
    """
    network = copying.deepcopy(model) if copy else model
    adapters = Adapters.of(network)
    route = adapters.switch.route
    if route.per in ("sample", "token") or route.mixing:
        raise AdapterError(
            f"slots with coefficients per {route.per if not route.mixing else 'rank (mixing)'} have no single "
            "merged weight; use fixed coefficients per slot or layer"
        )
    for index, layer in enumerate(adapters.layers):
        c = torch.ones(len(route.slots)) if route.coefficients is None else route.coefficients.detach()
        per_slot = c[index] if route.per == "layer" else c
        weight = layer.effective_weight(dict(zip(route.slots, per_slot, strict=True)))
        tied = [module for module in network.modules() if getattr(module, "weight", None) is layer.base.weight]
        if len(tied) > 1:  # merging must not move the embedding that shares this weight
            layer.base.weight = nn.Parameter(layer.base.weight.detach().clone(), requires_grad=False)
        layer.base.weight.data.copy_(weight.T if layer.transposed else weight)
    for path, module in list(network.named_modules(remove_duplicate=False)):
        if isinstance(module, AdaptedLinear):
            parent, _, child = path.rpartition(".")
            setattr(network.get_submodule(parent), child, module.base)
    return network


# ---------------------------------------------------------------------- one slot on disk


def save_slot(adapters: Adapters, slot: Slot, folder: Path, base_model: str = "") -> None:
    """Write `slot` to `folder` in PEFT's format, each file atomically, the tensors last."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    own: dict[str, _Json] = {}
    for layer in adapters.layers:
        A, B, scale = _as_one_adapter(layer, slot.name)
        tensors[f"{_PREFIX}{layer.path}.lora_A.weight"] = A
        tensors[f"{_PREFIX}{layer.path}.lora_B.weight"] = B
        ranks[layer.path], alphas[layer.path] = len(A), scale * len(A)
        own[layer.path] = {
            "scale": scale,  # alpha / rank need not give back the same float
            "sites": {site: layer.bank(site).shape(slot.name).rank for site in layer.sites},
        }
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_model,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted(ranks),
        "rank_pattern": {path: value for path, value in ranks.items() if value != rank},
        "alpha_pattern": {path: value for path, value in alphas.items() if value != alpha},
        "use_rslora": False,
        "fan_in_fan_out": adapters.layers[0].transposed,
        "bias": "none",
        "init_lora_weights": True,
        "inference_mode": True,
    }
    atomic.write_json(folder / CONFIG_FILE, config)
    with atomic.atomic_path(folder / TENSOR_FILE) as path:
        save_file(tensors, path, metadata={"format": "pt", "plora": json.dumps(own)})


def load_slot(adapters: Adapters, name: str, folder: Path) -> Slot:
    """Read a slot that `save_slot` or PEFT wrote, as a committed slot `name`."""
    config, tensors, own = _read_adapter(folder)
    found: dict[str, tuple[SlotShape, Tensor, Tensor]] = {}
    for layer in adapters.layers:
        try:
            A = tensors.pop(f"{_PREFIX}{layer.path}.lora_A.weight").float()
            B = tensors.pop(f"{_PREFIX}{layer.path}.lora_B.weight").float()
        except KeyError:
            raise AdapterError(
                f"{folder}: no adapter for layer '{layer.path}'; it was made for other targets: "
                f"{config.get('target_modules')}"
            ) from None
        ranks = own[layer.path].sites if own else dict.fromkeys(layer.sites, len(A))
        scale = own[layer.path].scale if own else _scale(config, layer.path, len(A))
        row = 0
        for site, part in layer.sites.items():
            end = row + ranks[site]
            rows = (A[row:end].contiguous(), B[part, row:end].contiguous())
            found[layer.bank(site).path] = (SlotShape(ranks[site], scale), *rows)
            row = end if own else 0  # PEFT's adapter on a fused layer: every site shares its A
    if tensors:
        raise AdapterError(
            f"{folder}: {len(tensors)} tensors belong to layers that are not adapted here, such as "
            f"'{next(iter(tensors))}'; inject the targets that the adapter was trained with"
        )
    return adapters.append(name, found)


def _as_one_adapter(layer: AdaptedLinear, name: str) -> tuple[Tensor, Tensor, float]:
    """A `[r, I]`, B `[O, r]` and the scale of a slot in one layer, its sites joined into one adapter."""
    out_features = layer.pristine_weight().shape[0]
    first = layer.all_banks[0].shape(name)
    A_parts, B_parts = [], []
    for site, part in layer.sites.items():
        bank = layer.bank(site)
        A, rows = bank.rows(name)
        B = A.new_zeros(out_features, len(A))
        B[part] = rows.detach().T * (bank.shape(name).scale / first.scale)
        A_parts.append(A.detach())
        B_parts.append(B)
    return torch.cat(A_parts).cpu().contiguous(), torch.cat(B_parts, dim=1).cpu().contiguous(), first.scale


_Json = str | int | float | bool | None | list["_Json"] | dict[str, "_Json"]


class _Own(BaseModel):
    """What our own files say of one layer beyond PEFT's format: the exact scale, and the rank of each site."""

    scale: float
    sites: dict[str, int]


def _read_adapter(folder: Path) -> tuple[dict[str, _Json], dict[str, Tensor], dict[str, _Own]]:
    for file in (CONFIG_FILE, TENSOR_FILE):
        if not (folder / file).is_file():
            raise AdapterError(f"{folder} is not a LoRA adapter folder: it has no {file}")
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        with safe_open(folder / TENSOR_FILE, framework="pt") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
        own = {path: _Own.model_validate(value) for path, value in json.loads(metadata.get("plora", "{}")).items()}
    except (ValueError, OSError, SafetensorError) as error:
        raise AdapterError(f"{folder}: the adapter cannot be read ({error}); copy it again from its source") from None
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{folder}: peft_type is {config.get('peft_type')!r}, expected 'LORA'")
    return config, tensors, own


def _scale(config: Mapping[str, _Json], path: str, rank: int) -> float:
    pattern = config.get("alpha_pattern")
    alpha = pattern.get(path, config["lora_alpha"]) if isinstance(pattern, dict) else config["lora_alpha"]
    if not isinstance(alpha, int | float):
        raise AdapterError(f"adapter_config.json: lora_alpha is {alpha!r}, expected a number")
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def _only(adapters: Adapters) -> str:
    if len(adapters) != 1:
        raise AdapterError(f"the network has {len(adapters)} slots ({', '.join(adapters.names)}); name the one to save")
    return adapters.names[0]
