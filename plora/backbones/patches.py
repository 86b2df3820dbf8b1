"""Networks that cut images into patches: which sizes they take, and their position embeddings at another one."""

import inspect
from typing import Any

import torch
from torch import nn

from plora.backbones.preparation import Size
from plora.errors import BackboneError


def require_whole_patches(network: nn.Module, size: Size, said: str) -> None:
    """Refuse a size of which a network would leave pixels out.

    Args:
        network: any; one without patches takes every size.
        size: of images.
        said: what says so, for the message.

    Raises:
        BackboneError: it is no multiple of the patch; names the nearest that are.
    """
    patch = _pair(getattr(getattr(network, "config", None), "patch_size", None))
    if patch is None or not any(own % side for own, side in zip(size, patch, strict=True)):
        return
    below = tuple(own // side * side for own, side in zip(size, patch, strict=True))
    above = tuple(-(-own // side) * side for own, side in zip(size, patch, strict=True))
    raise BackboneError(
        f"{said} says images of {_shown(size)} pixels, and the network cuts them into patches of {_shown(patch)}; set "
        "backbone.image.size=" + " or ".join(_value(near) for near in (below, above) if all(near))
    )


def own_size(network: nn.Module) -> Size | None:
    """Return the size that a network takes, where it takes no other by itself: it has an embedding per position."""
    if hasattr(network, "lay_out"):
        return _pair(network.size)
    embeddings: Any = getattr(network, "embeddings", None)
    asked = "interpolate_pos_encoding" in inspect.signature(type(network).forward).parameters
    if not asked or not isinstance(getattr(embeddings, "position_embeddings", None), nn.Parameter):
        return None
    return _pair(getattr(getattr(embeddings, "patch_embeddings", None), "image_size", None))


@torch.no_grad()
def fit_positions(network: nn.Module, size: Size) -> None:
    """Give a network position embeddings for another size, once and for all: those that the library interpolates.

    Each is bicubic between those of the grid that it was trained on; those of extra tokens stay. The configuration says
    the new size, so that the network is saved and loaded with it.

    Args:
        network: changed in place; one that takes any size by itself, or this one, stays as it is.
        size: multiples of the patch.

    Raises:
        BackboneError: its own grid is no square, which the library cannot interpolate from.

    Source: Dosovitskiy et al. 2021 (ViT, arXiv 2010.11929), section 3.2.
    """
    own = own_size(network)
    if own is None or own == size:
        return
    if hasattr(network, "lay_out"):
        network.lay_out(size)  # type: ignore[operator]  # plora.backbones.eomt.Segmenter, which is loaded where it is needed
        return
    embeddings: Any = network.embeddings
    patches, positions = embeddings.patch_embeddings, embeddings.position_embeddings
    patch = _pair(patches.patch_size)
    if patch is None or own[0] != own[1] or patch[0] != patch[1]:
        raise BackboneError(
            f"the network's position embeddings are for {_shown(own)} pixels, and only those of square images and "
            f"patches can be interpolated; set backbone.image.size={_value(own)}, or take the network that they were "
            "made from"
        )
    grid = [side // patch[0] for side in size]
    extra = positions.shape[1] - (own[0] // patch[0]) ** 2
    tokens = torch.empty(1, extra + grid[0] * grid[1], positions.shape[2], device="meta")  # its shape alone is read
    found = embeddings.interpolate_pos_encoding(tokens, *size)
    embeddings.position_embeddings = nn.Parameter(found.contiguous(), requires_grad=positions.requires_grad)
    embeddings.image_size = patches.image_size = size
    patches.num_patches = grid[0] * grid[1]
    settings: Any = network.config
    settings.image_size = size[0] if size[0] == size[1] else list(size)


def _pair(value: object) -> Size | None:
    if isinstance(value, int):
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return value[0], value[1]
    return None


def _shown(size: Size) -> str:
    return f"{size[0]} × {size[1]}"


def _value(size: tuple[int, ...]) -> str:
    """A size as a config has it."""
    return str(size[0]) if size[0] == size[1] else f"[{size[0]},{size[1]}]"
