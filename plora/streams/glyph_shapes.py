"""The shape of a character in a face, as a field of distances that can be bent, thickened and thinned."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from plora.streams.glyph_fonts import face_file

SIDE = 64
"""Height and width of a field."""
EXTENT = 44
"""The longer side of a character in a field."""
_MEASURED_AT = 100
_INSIDE = 64
"""Of a pixel in 0 to 255: as much of it as a thin line covers where it lies between two."""


@lru_cache(maxsize=16384)
def distance_field(character: str, face: str) -> NDArray[np.float16]:
    """Return how far each point lies inside the outline of a character, `[SIDE, SIDE]`; outside it is below 0.

    The character stands in the middle, its longer side EXTENT; distances are in points of the field, kept to 11 bits.

    Source: Green 2007, Improved alpha-tested magnification for vector textures and special effects.
    """
    from PIL import Image, ImageDraw, ImageFont
    from scipy.ndimage import distance_transform_edt

    font = ImageFont.truetype(str(face_file(face)), _MEASURED_AT, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = font.getbbox(character)
    font = font.font_variant(size=_MEASURED_AT * EXTENT / max(right - left, bottom - top))
    left, top, right, bottom = font.getbbox(character)
    drawn = Image.new("L", (SIDE, SIDE))
    corner = ((SIDE - right - left) / 2, (SIDE - bottom - top) / 2)
    ImageDraw.Draw(drawn).text(corner, character, fill=255, font=font)
    covered = np.asarray(drawn)
    inside = covered > _INSIDE
    field = np.where(inside, distance_transform_edt(inside) - 0.5, 0.5 - distance_transform_edt(~inside))
    edge = (covered > 0) & (covered < 255)  # of these the cover says more than distances between middles of pixels
    return np.where(edge, covered / 255 - 0.5, field).astype(np.float16)
