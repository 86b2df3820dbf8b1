"""`preprocessor_config.json`: what a network's own image processor does, read into a preparation and written from one.

Read without importing the processor: those of `transformers` need torchvision for most networks.
"""

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import transformers

from plora.backbones.preparation import Preparation, Resample, Size
from plora.errors import BackboneError

PROCESSOR = "preprocessor_config.json"
_RESAMPLE: Mapping[int, Resample] = {2: "bilinear", 3: "bicubic"}
"""By Pillow's numbers."""
Statistics = tuple[tuple[float, ...], tuple[float, ...], Resample]
_NEEDED = ("do_resize", "do_rescale", "do_normalize")
_DONE = {*_NEEDED, "do_center_crop", "do_convert_rgb", "do_reduce_labels"}
"""What a preparation does, and what does not concern it: colours are decided where files are read."""
_STEPS = ("resize", "center_crop", "rescale", "normalize")
"""Methods of a processor."""
_WARPED_FROM = 384
"""A ConvNeXt processor cuts nothing off at this size and above."""


def read_processor(path: Path, channels: int) -> Preparation:
    """Return what a `preprocessor_config.json` says.

    What an older file leaves out is what the class that it names does by itself, else what that of ViT does. Centres
    are cut out where the processors that use Pillow cut them; that of DINOv3 does not round what it has resized, which
    is half a level of 255 at most.

    Args:
        path: the file.
        channels: of the network; for a mean that is one number.

    Raises:
        BackboneError: it asks for a step, or leaves one out, that a preparation cannot do or do without.
        Exception: whatever a file that is none raises.
    """
    said, name, usual = _read(path)
    of = partial(_of, said, usual)
    plain = transformers.ViTImageProcessorPil
    if not name.startswith("ConvNext") and any(getattr(usual, step) != getattr(plain, step) for step in _STEPS):
        raise BackboneError(
            f"{path} is of a {name}, which resizes, crops or normalises in a way of its own, which is not supported; "
            "write one of a ViTImageProcessor that comes near it"
        )
    for key in said:
        if key.startswith("do_") and key not in _DONE and said[key]:
            raise BackboneError(
                f"{path} asks for {key}, which is not supported; write one for what this network needs: resize, crop, "
                "rescale, normalise"
            )
    mean, std, resample = _normalised(path, channels, of)
    size, before = _sizes(path, name, of)
    return Preparation(size, mean, std, before, resample)


def read_whole(path: Path, channels: int, size: Size) -> Preparation:
    """Return what a `preprocessor_config.json` says of pixels, for images of which nothing is cut off or filled up.

    Args:
        path: the file.
        channels: of the network; for a mean that is one number.
        size: that images get.

    Raises:
        BackboneError: pixels are not rescaled and normalised.
        Exception: whatever a file that is none raises.
    """
    said, _, usual = _read(path)
    mean, std, resample = _normalised(path, channels, partial(_of, said, usual))
    return Preparation(size, mean, std, resample=resample)


def write_processor(preparation: Preparation, folder: Path) -> None:
    """Write `preprocessor_config.json`, for `ViTImageProcessor`."""
    before = preparation.before
    cut = {"do_center_crop": True, "crop_size": _named(preparation.size)}
    settings = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": before} if isinstance(before, int) else _named(before or preparation.size),
        **({} if before is None else cut),
        "resample": next(number for number, name in _RESAMPLE.items() if name == preparation.resample),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preparation.mean),
        "image_std": list(preparation.std),
    }
    (folder / PROCESSOR).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> tuple[Mapping[str, Any], str, object]:
    """What a file says, and the processor that it is of: its name, and the class that knows what it leaves out."""
    said: dict[str, Any] = json.loads(path.read_bytes())
    name = str(said.get("image_processor_type") or said.get("feature_extractor_type") or "ViTImageProcessor")
    name = name.removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
    return said, name, getattr(transformers, f"{name}Pil", transformers.ViTImageProcessorPil)


def _of(said: Mapping[str, Any], usual: object, key: str) -> Any:  # noqa: ANN401  (JSON)
    return said[key] if said.get(key) is not None else getattr(usual, key, None)


def _normalised(path: Path, channels: int, of: Callable[[str], Any]) -> Statistics:
    """What is made of pixels: mean and std of each channel, and how values between them are found."""
    for key in _NEEDED:
        if not of(key):
            raise BackboneError(
                f"{path} says {key}: {json.dumps(of(key))}, and images are always resized, rescaled and normalised; "
                "correct it to what the network was trained with"
            )
    if of("resample") not in _RESAMPLE:
        raise BackboneError(
            f"{path} says resample: {of('resample')}; supported are 2 (bilinear) and 3 (bicubic), by Pillow's numbers"
        )
    mean, std = (_channelwise(of(key), channels) for key in ("image_mean", "image_std"))
    if len(mean) != len(std):
        raise BackboneError(f"{path} has an image_mean of {len(mean)} channels and an image_std of {len(std)}")
    factor = 255 * float(of("rescale_factor"))
    if not math.isclose(factor, 1, rel_tol=1e-6):  # (factor · p − m) / s = (p − m / factor) / (s / factor)
        mean, std = tuple(value / factor for value in mean), tuple(value / factor for value in std)
    return mean, std, _RESAMPLE[of("resample")]


def _sizes(path: Path, name: str, of: Any) -> tuple[Size, int | Size | None]:  # noqa: ANN401  (a function of keys)
    """What the network gets, and what is cut from to get it."""
    found = of("size")
    if isinstance(found, int):  # of older files; their class says which side is meant
        found = _named((found, found)) if of("default_to_square") in (None, True) else {"shortest_edge": found}
    known = {key: value for key, value in found.items() if value is not None}
    if name.startswith("ConvNext"):
        side = known["shortest_edge"]
        return (side, side), None if side >= _WARPED_FROM else int(side / of("crop_pct"))
    if set(known) == {"height", "width"}:
        resized: int | Size = (int(known["height"]), int(known["width"]))
    elif set(known) == {"shortest_edge"} and of("do_center_crop"):
        resized = int(known["shortest_edge"])
    else:
        raise BackboneError(
            f"{path} resizes to {json.dumps(known)}, which does not give all images one size; expected height and "
            "width, or shortest_edge and a crop_size"
        )
    if not of("do_center_crop"):
        assert not isinstance(resized, int)
        return resized, None
    crop = of("crop_size")
    size = (crop, crop) if isinstance(crop, int) else (int(crop["height"]), int(crop["width"]))
    smallest = (resized, resized) if isinstance(resized, int) else resized
    if size[0] > smallest[0] or size[1] > smallest[1]:
        raise BackboneError(
            f"{path} cuts {size[0]} × {size[1]} pixels out of images that it resizes to {json.dumps(known)}; expected "
            "a crop_size that fits in"
        )
    return size, None if resized == size else resized


def _named(size: Size) -> dict[str, int]:
    return {"height": size[0], "width": size[1]}


def _channelwise(value: float | list[float], channels: int) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, list) else (float(value),) * channels
