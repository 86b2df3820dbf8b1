import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from plora.streams.docstring_documents import docstring_documents
from plora.streams.documents import Documents
from plora.streams.word_runs import RUN, known_shares, letters

LONG = "It says at some length what it does, so that whoever reads it has more than the name to go by. " * 2


def test_a_fingerprint_knows_where_documents_end() -> None:
    one, other = Documents(("ab", "c")), Documents(("a", "bc"))
    assert one.fingerprint() != other.fingerprint()
    assert one.fingerprint() == Documents(("ab", "c")).fingerprint() != Documents(("c", "ab")).fingerprint()
    assert one.read(np.array([1, 0])) == ["c", "ab"]
    assert (len(one), one.labels, one.identities()) == (2, None, ("ab", "c"))


def test_docstrings_are_whole_and_kept_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "madeup_package"
    for folder in (package, package / "_private", package / "tests"):
        folder.mkdir()
        (folder / "__init__.py").write_text(
            f'raise SystemExit("imported")\nclass A:\n    """{folder.name}: {LONG}"""\n'
        )
    body = f'"""{LONG}\n\n    >>> f(x)\n    """'
    (package / "a.py").write_text(f'"""Short."""\nif True:\n    class B:\n        def f(x):\n            {body}\n')
    importlib.invalidate_caches()
    found, left_out = docstring_documents("madeup_package")
    assert len(found) == 2
    assert found[0].startswith("madeup_package: It says")
    assert found[1].endswith(">>> f(x)")
    assert left_out == {"shorter than 100 bytes": 1}
    assert docstring_documents("madeup_package") == (found, left_out)
    assert len([*(tmp_path / "cache" / "docstrings").iterdir()]) == 1
    (package / "a.py").write_text('"""Short."""\n')
    assert docstring_documents("madeup_package")[0] == found[:1]
    assert "madeup_package" not in sys.modules


def test_letters_are_the_same_for_texts_that_differ_in_numbers_and_signs() -> None:
    assert letters("The 3 Häuser, of `A_1`!") == letters("the häuser OF a")
    assert letters("日本語 の 文") == "日本語 の 文"
    assert letters("12, 13") == "12, 13"


def test_known_shares_are_those_of_a_search_by_hand() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice([*"abc"], 12 + number)) for number in range(20)]
    others = [" ".join(rng.choice([*"abc"], 400)) for _ in range(3)]
    runs = {tuple(text.split()[i : i + RUN]) for text in others for i in range(len(text.split()) - RUN + 1)}
    expected = []
    for text in texts:
        own = [tuple(text.split()[i : i + RUN]) for i in range(len(text.split()) - RUN + 1)]
        expected.append(np.mean([run in runs for run in own]))
    assert 0 < np.mean(expected) < 1
    np.testing.assert_allclose(known_shares(texts, others), expected)
    assert known_shares(["too short"], others).tolist() == [0]
    assert known_shares([], others).tolist() == known_shares([], []).tolist() == []
    assert known_shares([texts[0]], []).tolist() == [0]
