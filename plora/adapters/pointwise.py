"""Residual adapters beside convolutions: what a 1 × 1 convolution of the task's own makes is added to theirs.

u = conv(x), with C channels in and O out; K `[O, C]` (`parallel`) or `[O, O]` (`series`):

    parallel   u + Σ_k c_k K_k x           K reads what the convolution reads, at its stride
    series     u + Σ_k c_k K_k BN_k(u)     K reads what it returns, normalized with statistics of the slot's own

K starts at 0, so that a new slot changes no bit and gradients reach K at once; the authors' code draws it as any other
convolution. The BatchNorm layers of the network are the task's own, too, as module slots that start from the pretrained
ones: one of them runs at a time, so slots cannot be added up where there are any.

Sources: Rebuffi et al. 2017 (arXiv 1705.08045), series; Rebuffi et al. 2018 (arXiv 1803.10082), parallel.
"""

import json
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plora.adapters.branch_place import BranchPlace
from plora.adapters.place import Can


class PointwiseBranch(nn.Module):
    """The 1 × 1 convolution of one slot: K x, or K BN(x).

    Args:
        channels: of x, and of what is returned.
        stride: of K.
        normed: x is normalized on its way into K.
    """

    def __init__(self, channels: tuple[int, int], stride: tuple[int, int], normed: bool) -> None:
        super().__init__()
        self.stride = stride
        self.K = nn.Parameter(torch.zeros(channels[1], channels[0]))
        self.norm = nn.BatchNorm2d(channels[0]) if normed else None

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, O, H', W']`."""
        if self.norm is not None:
            x = self.norm(x)
        return F.conv2d(x, self.K[:, :, None, None], stride=self.stride)


class PointwisePlace(BranchPlace):
    """All slots beside one convolution.

    Args:
        layer: the convolution; in the parallel form it pads so that its output has a position for each of its steps.
        form: `parallel` or `series`.
        path, index, site: see `Place`.
    """

    kind: ClassVar[str] = "residual convolution"
    can: ClassVar[Can] = Can(
        foldable=False,
        export=False,
        reasons={
            "foldable": "it runs beside the convolution, which is not rewritten; in series BatchNorm stands before it",
            "export": "PEFT has no residual adapters; save the slots with save_slot, which plora reads",
        },
    )

    def __init__(self, layer: nn.Conv2d, form: Literal["parallel", "series"], path: str, index: int, site: int) -> None:
        super().__init__(layer.out_channels, True, path, index, site)
        self.form: Literal["parallel", "series"] = form
        self.reads_input = form == "parallel"
        down, across = layer.stride
        self.channels = (layer.in_channels if form == "parallel" else layer.out_channels, layer.out_channels)
        self.stride = (down, across) if form == "parallel" else (1, 1)

    def blank(self) -> PointwiseBranch:
        """Return a convolution of zeros."""
        branch = PointwiseBranch(self.channels, self.stride, self.form == "series")
        return branch.to(self.where.device, self.where.dtype)

    def fresh(self) -> PointwiseBranch:
        """Return what a slot starts from: zeros."""
        return self.blank()

    def description(self) -> str:
        """Return the form and the stride."""
        return json.dumps({"form": self.form, "stride": self.stride})
