"""How the bytes of a mask become ids: palettes as indices, wide values as they are, colours only where declared."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from plora.errors import DataError
from plora.streams.image_reading import DamagedImageError, said_by_pillow

_NARROW = {"L;2": 85, "L;4": 17}
"""By what Pillow multiplies grey values of 2 and 4 bits."""


def map_ids(file: Path | BinaryIO, where: str, coloured: bool, max_pixels: int) -> NDArray[Any]:
    """Return the ids of a mask, `[H, W]` whole numbers; it is turned as its EXIF says.

    Args:
        file: its path, or its content.
        where: what to call it in a message.
        coloured: an id is a colour, 65536 · red + 256 · green + blue.
        max_pixels: largest height × width that is decoded.

    Raises:
        DamagedImageError: it is no image, corrupt or truncated.
        DataError: it is too large, or its pixels are of a kind that holds no ids.
    """
    try:
        with Image.open(file) as image:
            size, lossy = image.width * image.height, image.format in ("JPEG", "MPO")
            raw = image.tile[0].args if image.tile else None  # before it is loaded, and gone
            if size <= max_pixels and not lossy:
                turned = ImageOps.exif_transpose(image)
                mode, pixels = turned.mode, np.asarray(turned)
    except Image.DecompressionBombError as error:
        raise DataError(f"{where} cannot be read as a mask: {said_by_pillow(error)}") from None
    except Exception as error:  # Pillow's readers raise whatever a broken file leads to
        raise DamagedImageError(f"{where} cannot be read as a mask: {said_by_pillow(error)}") from None
    if lossy:
        raise DataError(f"{where} is a JPEG, which changes ids at every edge; a mask is PNG, or another lossless kind")
    if size > max_pixels:
        raise DataError(
            f"{where} has {size:,} pixels, and at most {max_pixels:,} are decoded; take it out, make it smaller, or "
            "raise max_pixels"
        )
    if coloured:
        if mode == "RGBA" and bool((pixels[..., 3] == 255).all()):
            mode, pixels = "RGB", pixels[..., :3]
        if mode != "RGB":
            raise DataError(
                f"{where} is of mode {mode}, and colours are declared; they need red, green and blue: declare classes "
                "where masks hold ids"
            )
        wide = pixels.astype(np.int32)
        return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    if mode in ("P", "L", "1", "I") or mode.startswith("I;16"):
        if mode == "1":
            return pixels.astype(np.uint8)
        return pixels // _NARROW[raw] if mode == "L" and isinstance(raw, str) and raw in _NARROW else pixels
    raise DataError(
        f"{where} is of mode {mode}, and a mask of ids is a palette or grey image; say which colour is which class "
        "(colours: {name: [red, green, blue]}), or write ids"
    )
