"""Which characters are classes of the stream `glyphs`: the rule by which the lists in plora were made.

A candidate has no decomposition in Unicode (so no accents, ligatures and styled forms) and is drawn by enough faces, in
none of them as a mere line. In the order of the candidates, one is left out when its picture in some upright or slanted
regular face correlates by 0.9 or more with that of one that was taken.
"""

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont
from scipy.ndimage import gaussian_filter

from plora.streams.glyph_fonts import characters_of, face_file, faces_with
from plora.streams.glyph_shapes import distance_field

ALIKE = 0.9
STREAM_SIZE = 100
STREAM_FACES, PRETRAINING_FACES = 12, 3
REGULAR = (
    *("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Italic"),
    *("STIXGeneral", "STIXGeneralItalic", "cmr10", "cmtt10"),
)
STREAM_ORDER = (
    *((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A), (0x391, 0x3C9), (0x410, 0x44F)),  # digits, Latin, Greek, Cyrillic
    *((0x3D0, 0x3FF), (0x400, 0x40F), (0x450, 0x45F), (0x460, 0x52F)),  # rarer letters of the last two
)
SCRIPTS = {
    "Armenian": (0x530, 0x58F),
    "Hebrew": (0x590, 0x5FF),
    "Arabic": (0x600, 0x6FF),
    "Lao": (0xE80, 0xEFF),
    "Georgian": (0x10A0, 0x10FF),
    "technical signs": (0x2300, 0x23FF),
    "symbols": (0x2600, 0x26FF),
    "dingbats": (0x2700, 0x27BF),
    "Old Italic": (0x10300, 0x1032F),
}


def between(first: int, last: int) -> str:
    return "".join(map(chr, range(first, last + 1)))


def picture(character: str, face: str) -> NDArray[np.float32]:
    """The character as ink on ground, blurred a little, with mean 0 and norm 1."""
    ink = np.clip(0.5 + distance_field(character, face).astype(np.float32) / 2, 0, 1)
    flat = gaussian_filter(ink, 1.0)[::2, ::2].ravel()
    flat = flat - flat.mean()
    return flat / np.linalg.norm(flat)


def pictures(characters: Iterable[str]) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Of each character by face."""
    return {
        character: {face: picture(character, face) for face in REGULAR if character in characters_of(face)}
        for character in characters
    }


def likeness(one: dict[str, NDArray[np.float32]], other: dict[str, NDArray[np.float32]]) -> float:
    """The largest correlation of two characters over the faces that have both."""
    return max((float(one[face] @ other[face]) for face in one.keys() & other.keys()), default=0.0)


def candidates(characters: str, categories: tuple[str, ...], least_faces: int) -> str:
    return "".join(
        character
        for character in characters
        if not unicodedata.decomposition(character)
        and unicodedata.category(character) in categories
        and len(faces := faces_with(character)) >= least_faces
        and all(_is_more_than_a_line(character, face) for face in faces)
    )


def _is_more_than_a_line(character: str, face: str) -> bool:
    font = ImageFont.truetype(str(face_file(face)), 100, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = font.getbbox(character)
    return min(right - left, bottom - top) >= max(1, 0.2 * max(right - left, bottom - top))


def distinct(found: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """Those that look like none before them, nor like one of `taken`."""
    shapes = pictures([*taken, *found])
    kept = list(taken)
    for character in found:
        if all(likeness(shapes[character], shapes[other]) < ALIKE for other in kept):
            kept.append(character)
    return kept[len(taken) :]


def stream_characters() -> list[str]:
    """The first hundred letters and digits of Latin, Greek and Cyrillic, in the order of Unicode."""
    written = "".join(between(*block) for block in STREAM_ORDER)
    found = candidates(written, ("Lu", "Ll", "Nd"), STREAM_FACES)
    return sorted(distinct(found)[:STREAM_SIZE])


def pretraining_characters() -> dict[str, str]:
    """By script: letters and digits of others, and signs, none of which looks like one of the stream."""
    taken = stream_characters()
    written = "".join(between(*block) for block in SCRIPTS.values())
    found = distinct(candidates(written, ("Lu", "Ll", "Lo", "Nd", "Sm", "So"), PRETRAINING_FACES), taken)
    blocks = {script: between(*block) for script, block in SCRIPTS.items()}
    return {script: "".join(one for one in found if one in block) for script, block in blocks.items()}
