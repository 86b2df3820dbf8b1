"""The fonts that matplotlib ships, by family: files of faces, and which characters each has."""

from functools import cache
from pathlib import Path

from plora.errors import DataError

FAMILIES: dict[str, tuple[str, ...]] = {
    "dejavu-sans": ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    "dejavu-sans-mono": (
        "DejaVuSansMono",
        "DejaVuSansMono-Bold",
        "DejaVuSansMono-Oblique",
        "DejaVuSansMono-BoldOblique",
    ),
    "dejavu-serif": ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    "stix": ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    "computer-modern": ("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10"),
}
"""Family → its faces, by the names of their files."""


def face_file(face: str) -> Path:
    """Return the file of a face.

    Raises:
        DataError: the installed matplotlib does not ship it.
    """
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    if not path.is_file():
        raise DataError(f"matplotlib {matplotlib.__version__} has no font {path}; reinstall it: pip install matplotlib")
    return path


@cache
def characters_of(face: str) -> frozenset[str]:
    """Return the characters for which a face has a glyph of its own.

    Of Computer Modern these are letters and digits alone: its other glyphs stand at codes of other characters.
    """
    from matplotlib.ft2font import FT2Font

    found = (chr(code) for code, glyph in FT2Font(str(face_file(face))).get_charmap().items() if glyph)
    if face in FAMILIES["computer-modern"]:
        return frozenset(character for character in found if character.isascii() and character.isalnum())
    return frozenset(found)


def faces_with(character: str, families: tuple[str, ...] = tuple(FAMILIES)) -> tuple[str, ...]:
    """Return the faces of some families that have a character."""
    faces = (face for family in families for face in FAMILIES[family])
    return tuple(face for face in faces if character in characters_of(face))
