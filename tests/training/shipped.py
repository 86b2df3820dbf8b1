"""A network that plora ships, with other weights in the place of its own."""

import shutil
from pathlib import Path

from plora.backbones import BackboneConfig, find_backbone


def altered(shipped: BackboneConfig, place: Path) -> Path:
    """Return a copy of a shipped network's folder, one bit of whose weights differs."""
    copy = shutil.copytree(find_backbone(shipped), place / shipped.id)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    return copy
