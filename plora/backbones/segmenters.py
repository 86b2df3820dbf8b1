"""Load or make a network that answers with masks, for the classes of a stream."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from plora.backbones.eomt import Segmenter
from plora.backbones.loading import (
    Backbone,
    find_backbone,
    new_network,
    prepared_for,
    pretrained_network,
    save_network,
)
from plora.backbones.patches import fit_positions
from plora.backbones.preparation import Preparation
from plora.backbones.processor import read_whole, write_processor
from plora.backbones.settings import BackboneConfig
from plora.errors import BackboneError, PloraWarning

_ORIGINAL = "network.encoder."
"""How names of weights begin in the checkpoints of EoMT's authors."""


@dataclass(frozen=True)
class SegmentationBackbone(Backbone):
    """A network that answers with masks.

    Args:
        network: EoMT.
        preparation: what is made of an image: all of it, resized.
        class_names: of the C classes; the row after them is of no object.
    """

    network: Segmenter
    preparation: Preparation
    class_names: tuple[str, ...]


def load_segmentation_backbone(config: BackboneConfig, class_names: Sequence[str]) -> SegmentationBackbone:
    """Load or make a network in fp32 and eval mode, all its parameters frozen, with a row for each class and no object.

    Of a pretrained one, rows of classes that it knows by the same name are taken, and others drawn from the seed of the
    config; a warning says which. `transformers` reads what is saved of it as what it is after training, a plain vision
    transformer: no query of it is masked.

    Args:
        config: which.
        class_names: of the C classes.

    Raises:
        BackboneError: as `load_backbone`; or its weights are in the layout of EoMT's authors, or its classes have no
            names and are not as many.
    """
    if config.kind == "new":
        network, fingerprint = _new(config, class_names)
        folder = None
    else:
        _refuse_original(find_backbone(config))
        network, fingerprint, folder = pretrained_network(config, segments=True)
    assert isinstance(network, Segmenter)
    network.attn_mask_probs.zero_()
    own = network.size
    preparation = prepared_for(config, network, folder, partial(_read, size=own))
    fit_positions(network, preparation.size)
    _fit_classes(network, class_names, config)
    grid, settings = network.grid_size, network.config
    tokens = grid[0] * grid[1] + network.embeddings.num_prefix_tokens + settings.num_queries
    content = json.dumps([fingerprint, *class_names])
    return SegmentationBackbone(
        network.eval().requires_grad_(False),
        0,
        hashlib.sha256(content.encode()).hexdigest(),
        config.label,
        replace(preparation, tokens=tokens),
        tuple(class_names),
    )


def save_segmentation_backbone(backbone: SegmentationBackbone, folder: Path) -> None:
    """Write an ordinary `transformers` folder: weights, config.json with the classes, preprocessor_config.json.

    `transformers` itself builds networks for square images alone; plora loads others, too.
    """
    save_network(backbone.network, folder)
    write_processor(backbone.preparation, folder)


def _read(path: Path, channels: int, size: tuple[int, int]) -> Preparation:
    return read_whole(path, channels, size)


def _new(config: BackboneConfig, class_names: Sequence[str]) -> tuple[nn.Module, str]:
    assert config.network is not None
    said = {name: config.network[name] for name in ("num_labels", "id2label") if name in config.network}
    if said and said != {"num_labels": len(class_names)}:
        raise BackboneError(
            f"backbone.network says {json.dumps(said)}, and the classes are the {len(class_names)} of the stream; "
            "leave it out"
        )
    return new_network(config, segments=True, id2label=dict(enumerate(class_names)))


def _refuse_original(folder: Path) -> None:
    """Refuse weights as EoMT's authors publish them: those on DINOv3 are differences to weights that are not theirs."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                original = any(name.startswith(_ORIGINAL) for name in file.keys())  # noqa: SIM118  (no dict)
        except Exception:  # damaged; loading says so
            return
        if original:
            raise BackboneError(
                f"{path} has the layout of EoMT's authors, whose checkpoints on DINOv3 are differences to Meta's "
                "weights, which have to be added first; convert it with the script of transformers for its kind "
                "(convert_eomt_to_hf.py or convert_eomt_dinov3_to_hf.py), and name the folder that this makes"
            )


@torch.no_grad()
def _fit_classes(network: Segmenter, class_names: Sequence[str], config: BackboneConfig) -> None:
    """Give a network the rows of these classes, in their order, by name; the row of no object stays the last."""
    settings, wanted = network.config, list(class_names)
    known = [str(settings.id2label[row]) for row in range(settings.num_labels)]
    if known == wanted:
        return
    unnamed = all(name == f"LABEL_{row}" for row, name in enumerate(known))
    if unnamed and len(known) != len(wanted):
        raise BackboneError(
            f"backbone '{config.label}' has {len(known)} classes without names, and the stream has {len(wanted)}: "
            f"{', '.join(wanted[:8])}; write their names as id2label into its config.json"
        )
    if unnamed:
        known = wanted
        warnings.warn(
            f"the classes of backbone '{config.label}' have no names: they are taken in order",
            PloraWarning,
            stacklevel=3,
        )
    else:
        fresh = [name for name in wanted if name not in known]
        taken = [name for name in wanted if name in known]
        warnings.warn(
            f"backbone '{config.label}': of its {len(known)} classes {len(taken)} are taken by name "
            f"({', '.join(taken) or 'none'}); {len(fresh)} are new ({', '.join(fresh) or 'none'})",
            PloraWarning,
            stacklevel=3,
        )
    before = network.class_predictor
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        after = nn.Linear(before.in_features, len(wanted) + 1)
    for row, name in enumerate(wanted):
        if name in known:
            after.weight[row], after.bias[row] = before.weight[known.index(name)], before.bias[known.index(name)]
    after.weight[-1], after.bias[-1] = before.weight[-1], before.bias[-1]
    network.class_predictor = after
    settings.id2label = dict(enumerate(wanted))
    settings.label2id = {name: row for row, name in enumerate(wanted)}
    network.criterion = type(network.criterion)(config=settings, weight_dict=network.weight_dict)
