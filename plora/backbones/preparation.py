"""How an image becomes what a network takes: resized, its centre cut out, normalised."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from plora.errors import DataError

Resample = Literal["bilinear", "bicubic"]
"""How values between pixels are found; both with antialiasing."""
Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Preparation:
    """How pixels become what a network takes: (resized pixels / 255 − mean) / std.

    Whole numbers stay whole numbers until they are normalised, as in the processors of `transformers`.

    Args:
        size: height and width that the network gets.
        mean, std: of each channel; as many as the network has.
        before: what an image is resized to before its centre of that size is cut out: its shorter side, which keeps
            its shape, or height and width; None resizes to `size`, whatever the shape.
        resample: how.
        tokens: what an image costs, the states that the network makes of it; None: one for every 64 pixels.
    """

    size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]
    before: int | Size | None = None
    resample: Resample = "bilinear"
    tokens: int | None = None

    @property
    def cost(self) -> int:
        """What an image costs, in tokens."""
        return self.tokens or max(1, self.size[0] * self.size[1] // 64)

    def resized(self, image: NDArray[np.uint8], where: str = "an image") -> Tensor:
        """Return an image `[H, W]` or `[H, W, C]` as `[channels, height, width]` fp32, whole numbers in 0 to 255.

        Args:
            image: of any size.
            where: what to call it in a message.

        Raises:
            DataError: it has other channels than the network, and is not grey.
        """
        pixels = torch.from_numpy(np.array(image))  # a copy: an image read from a file cannot be written
        pixels = pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)
        if len(pixels) not in (1, len(self.mean)):
            wanted = len(self.mean)
            advice = (
                "set stream.reading.colours: grey, or make it grey"
                if wanted == 1
                else f"make it grey, or one of {wanted} channels"
            )
            raise DataError(f"{where} has {len(pixels)} channels, and the backbone takes {wanted}; {advice}")
        pixels = self._sampled(pixels, self._sides(*pixels.shape[1:]))
        top, left = ((own - wanted) // 2 for own, wanted in zip(pixels.shape[1:], self.size, strict=True))
        pixels = pixels[:, top : top + self.size[0], left : left + self.size[1]]
        return pixels.expand(len(self.mean), -1, -1)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return pixels `[B, C, H, W]` in 0 to 255 as the network takes them."""
        mean, std = self._statistics(pixels.device)
        return (pixels / 255 - mean) / std

    def pixels(self, values: Tensor) -> Tensor:
        """Return what `normalised` was given, in 0 to 1, `[B, C, H, W]`."""
        mean, std = self._statistics(values.device)
        return values * std + mean

    def at(self, size: Size) -> "Preparation":
        """Return the same preparation for another size: what is cut off keeps its share."""
        if isinstance(self.before, int):
            before: int | Size | None = round(self.before * max(size) / min(self.size))
        elif self.before is not None:
            high, wide = (round(b * new / own) for b, new, own in zip(self.before, size, self.size, strict=True))
            before = (high, wide)
        else:
            before = None
        return replace(self, size=size, before=before)

    def _sides(self, height: int, width: int) -> Size:
        """Height and width that an image is resized to."""
        if self.before is None or not isinstance(self.before, int):
            return self.before or self.size
        short, edge = min(height, width), self.before
        return (edge, int(edge * width / short)) if height == short else (int(edge * height / short), edge)

    def _sampled(self, pixels: Tensor, sides: Size) -> Tensor:
        if pixels.shape[1:] == sides:
            return pixels.float()
        if self.resample == "bicubic":  # overshoots, and is cut to 0 to 255 between both directions, as Pillow does
            return F.interpolate(pixels[None], sides, mode="bicubic", antialias=True)[0].float()
        return F.interpolate(pixels[None].float(), sides, mode="bilinear", antialias=True)[0].round()

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (self.mean, self.std))
        return mean, std
