"""Classes that queries are told by their angle to: the layer that gives queries their classes, on cosines."""

import hashlib
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plora.backbones.segmenters import SegmentationBackbone
from plora.errors import BackboneError

SCALE_KEY = "class_cosine_scale"
"""Of a network's configuration: its class layer is one of cosines, and this is s."""


class CosineClasses(nn.Linear):
    """Logits s cos(x, w_c) of classes, and w · x + b of the last one, which is no object.

    Args:
        before: a plain layer, whose tensors it takes; of their numbers only those of the last row are a bias.
        scale: s.
    """

    def __init__(self, before: nn.Linear, scale: float) -> None:
        super().__init__(before.in_features, before.out_features, device="meta")
        self.weight, self.bias, self.scale = before.weight, before.bias, scale

    def forward(self, states: Tensor) -> Tensor:
        """Return `[…, C + 1]`, in the type of the states.

        In fp64: where rows begin in memory decides the order of fp32 sums, and a checkpoint has to give the same bits.
        """
        x, w, b = states.double(), self.weight.double(), self.bias.double()
        cosines = F.linear(F.normalize(x, dim=-1), F.normalize(w[:-1], dim=-1))
        nothing = F.linear(x, w[-1:], b[-1:])
        return torch.cat([self.scale * cosines, nothing], dim=-1).to(states.dtype)


def require_cosines(backbone: SegmentationBackbone, cosines: bool) -> None:
    """Refuse a network whose classes were learned by angles, where they are not asked so.

    Args:
        backbone: as it was loaded or made.
        cosines: whether its class layer becomes one of cosines.

    Raises:
        BackboneError: it was.
    """
    scale = getattr(backbone.network.config, SCALE_KEY, None)
    if scale is not None and not cosines:
        raise BackboneError(
            f"backbone '{backbone.source}' has learned its classes by angles; set problem.arcface, with scale {scale:g}"
        )


def with_cosines(backbone: SegmentationBackbone, scale: float) -> SegmentationBackbone:
    """Return a backbone whose class layer is one of cosines; its network is changed.

    Args:
        backbone: as it was loaded or made.
        scale: s.
    """
    network = backbone.network
    network.class_predictor = CosineClasses(network.class_predictor, scale)
    setattr(network.config, SCALE_KEY, scale)
    content = f"{backbone.fingerprint} classes on cosines, {scale!r}"
    return replace(backbone, fingerprint=hashlib.sha256(content.encode()).hexdigest())
