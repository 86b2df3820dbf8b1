"""The fixed hash by which every split is cut: of the text alone, not of row order, seed or machine."""

import hashlib

from plora.streams.base import TextInput

KEY_BITS = 64


def text_key(text: TextInput, salt: str = "") -> int:
    """Return the first 64 bits of the sha256 of a text (or of a pair), as an integer in 0 … 2⁶⁴ − 1.

    Args:
        text: one text, or two.
        salt: gives an independent order of the same texts.
    """
    parts = (text,) if isinstance(text, str) else text
    # "\x1f" (unit separator) keeps ("ab", "c") and ("a", "bc") apart; surrogates can come from damaged JSON.
    content = "\x1f".join((salt, *parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(content).digest()[: KEY_BITS // 8], "big")


def unit(key: int) -> float:
    """Return a key as a fraction in [0, 1)."""
    return (key >> 11) / 2**53  # 53 bits: the largest key must not round up to 1.0
