"""Texts on one line of bounded length."""

from plora.shown import visible


def shorten(text: str, length: int) -> str:
    """Return `text` on one line, cut to `length` characters with "…" when it is longer."""
    text = " ".join(visible(text).split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def elide(text: str, length: int) -> str:
    """Return `text` on one line, "…" in its middle when it is longer than `length`.

    For labels that differ at their end: `o_lora, training.learning_rate 0.001`.
    """
    text = " ".join(visible(text).split())
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return text[:head].rstrip() + "…" + text[len(text) - (length - 1 - head) :].lstrip()
