from hypothesis import given
from hypothesis import strategies as st

from plora.streams.hashing import text_key, unit


def test_key_is_fixed_forever() -> None:
    # Splits of published runs depend on these numbers.
    assert text_key("a text") == 0xE4F63479E33DCC47
    assert text_key("a text", salt="order") != text_key("a text")


@given(st.text())
def test_unit_is_in_range(text: str) -> None:
    assert 0.0 <= unit(text_key(text)) < 1.0


def test_unit_never_rounds_up_to_one() -> None:
    assert unit(2**64 - 1) < 1.0


def test_parts_of_a_pair_are_kept_apart() -> None:
    assert text_key(("ab", "c")) != text_key(("a", "bc"))


def test_damaged_unicode_has_a_key() -> None:
    assert text_key("\ud800") != text_key("")
