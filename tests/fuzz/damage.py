"""What every fuzz test shares: damaged bytes, and the one thing that may come of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import settings
from hypothesis import strategies as st

from plora.errors import ConfigError, PloraError
from plora.shown import visible

FEW = settings(max_examples=max(1, settings().max_examples // 5))
"""For tests whose example takes tens of milliseconds."""

HOSTILE_TEXT = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(codec=None), max_size=6),  # lone surrogates too
    st.sampled_from(
        ["", " ", "\0", "..", "../../up", "/etc", "a\nb", "\x1b[31m", "\u202e", "nan", "ün", "9" * 5000, "x" * 300]
    ),
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Flip, cut or insert some bytes."""
    for kind in draw(st.lists(st.sampled_from(["flip", "cut", "insert"]), min_size=1, max_size=3)):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        if kind == "flip" and content:
            content = content[:place] + bytes([content[place] ^ draw(st.integers(1, 255))]) + content[place + 1 :]
        elif kind == "cut":
            content = content[:place] + content[place + draw(st.sampled_from([1, 3, 100, len(content)])) :]
        else:
            content = content[:place] + draw(st.binary(min_size=1, max_size=8)) + content[place:]
    return content


@contextmanager
def only_clear_lines(naming: str = "") -> Iterator[None]:
    """Let a PloraError pass if it is one visible line (a ConfigError: one per mistake); all else fails the test."""
    try:
        yield
    except PloraError as caught:
        refusal = caught
    else:
        return
    lines = str(refusal).split("\n")
    assert len(lines) == 1 or isinstance(refusal, ConfigError)
    assert all(line.strip() and line == visible(line) and len(line) <= 2000 for line in lines), lines
    assert naming in str(refusal)
