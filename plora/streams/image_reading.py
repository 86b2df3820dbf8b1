"""How the bytes of an image become pixels: rotation, transparency, palettes, wide values; and what is refused."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from plora.errors import DataError

Pixels = NDArray[np.uint8]
"""One image, `[H, W]` or `[H, W, C]`."""
Byte = Annotated[int, Field(ge=0, le=255)]
_GREY = ("1", "L", "LA")
_WIDE = ("I", "F")
"""How Pillow calls values of more than 8 bits; `I;16` and its kin begin so too."""


class DamagedImageError(DataError):
    """An image is corrupt, truncated or no image; a stream may be told to leave it out."""


class ImageReading(BaseModel):
    """How images are read: turned as their EXIF says, laid over a ground, in 8 bits a channel."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ground: tuple[Byte, Byte, Byte] = (255, 255, 255)
    """What shows through transparent pixels: red, green and blue."""
    highest: int = Field(default=65535, ge=1)
    """Value of an image of more than 8 bits a pixel that becomes 255; others in proportion, those above it too."""
    colours: Literal["found", "grey", "rgb"] = "found"
    """`found`: grey images stay grey, all others become red, green and blue; or all of them as one of the two."""
    max_pixels: int = Field(default=50_000_000, ge=1)
    """Largest height × width that is decoded; a larger image is refused before."""

    def pixels(self, file: Path | BinaryIO, where: str) -> Pixels:
        """Return an image: grey `[H, W]`, or red, green and blue `[H, W, 3]`.

        Args:
            file: its path, or its content.
            where: what to call it in a message.

        Raises:
            DamagedImageError: it is no image, corrupt or truncated.
            DataError: it has more pixels than `max_pixels`, or than Pillow's own guard lets pass.
        """
        try:
            with Image.open(file) as image:
                if image.width * image.height <= self.max_pixels:
                    return self._decoded(image)
                size = f"{image.width} × {image.height}"
        except Image.DecompressionBombError as error:
            raise DataError(f"{where} cannot be read as an image: {said_by_pillow(error)}") from None
        except Exception as error:  # Pillow's readers raise whatever a broken file leads to
            raise DamagedImageError(f"{where} cannot be read as an image: {said_by_pillow(error)}") from None
        raise DataError(
            f"{where} has {size} pixels, and at most {self.max_pixels:,} are decoded; take it out, make it smaller, or "
            "raise max_pixels"
        )

    def fingerprint(self) -> str:
        """Return the sha256 of what decides the pixels of equal bytes: these settings, and the version of Pillow."""
        content = [self.ground, self.highest, self.colours, PIL.__version__]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _decoded(self, image: Image.Image) -> Pixels:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith(_WIDE):
            image = self._narrowed(image)
        if image.has_transparency_data:
            grey = image.mode in _GREY and len(set(self.ground)) == 1
            ground = Image.new("RGBA", image.size, (*self.ground, 255))
            image = Image.alpha_composite(ground, image.convert("RGBA"))
            image = image.getchannel("R") if grey else image.convert("RGB")
        grey = image.mode in _GREY if self.colours == "found" else self.colours == "grey"
        return np.asarray(image.convert("L" if grey else "RGB"))

    def _narrowed(self, image: Image.Image) -> Image.Image:
        values = np.asarray(image).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are no numbers")
        narrow = Image.fromarray(np.round(np.clip(values / self.highest, 0, 1) * 255).astype(np.uint8))
        clear = image.info.get("transparency")  # of a PNG: the value that is transparent
        if clear is None:
            return narrow
        return Image.merge("LA", (narrow, Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))))


def said_by_pillow(error: Exception) -> str:
    """Return the first line of an error that decoding raised, without objects in memory."""
    if isinstance(error, UnidentifiedImageError):  # it would name an object in memory
        return "cannot identify image file"
    return (str(error).splitlines() or [type(error).__name__])[0]
