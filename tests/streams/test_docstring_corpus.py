import subprocess
import sys
from pathlib import Path

import pytest

from plora.errors import DataError
from plora.streams import docstring_corpus
from plora.streams.docstring_corpus import TOPIC_NAMES, TOPICS, DocumentedObject, library_root, read_corpus

SOURCE = '''
def plain(a, b=1, *rest, key, **others):
    """Add the numbers that were given."""
    def inner():
        """A function inside of another one."""

class Thing:
    """A thing that does things."""

    def method(self, a):
        """Do one thing with it."""

    @staticmethod
    def static(a, b):
        """Do another thing with them."""

    @classmethod
    def make(cls):
        """Make a thing of nothing."""

if True:
    async def later():
        """Do it later, if at all."""

def undocumented(): pass
def again(x):
    """Add the numbers, that were given!"""
'''


@pytest.fixture
def one_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library `toy` with the topics `left` and `right`."""
    for name, source in (("left", SOURCE), ("right", ""), ("left/tests", SOURCE)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "code.py").write_text(source)
    monkeypatch.setattr(docstring_corpus, "TOPICS", {"toy": {"left": ("left",), "right": ("right",)}})
    monkeypatch.setattr(docstring_corpus, "library_root", lambda domain: tmp_path)
    return tmp_path


def test_objects_kinds_and_parameter_counts(one_library: Path) -> None:
    found = {item.name: (item.kind, item.owner, item.parameters) for item in read_corpus()}
    assert found == {
        "plain": ("function", "", 5),
        "Thing": ("class", "", None),
        "method": ("method", "Thing", 1),
        "static": ("method", "Thing", 2),
        "make": ("method", "Thing", 0),
        "later": ("function", "", 0),
    }


def test_a_text_in_two_topics_is_left_out(one_library: Path) -> None:
    (one_library / "right" / "code.py").write_text('def f():\n    """Do it later; if at all."""\n')
    assert {item.name for item in read_corpus()}.isdisjoint({"later", "f"})


def test_sources_that_do_not_parse_are_skipped(one_library: Path) -> None:
    (one_library / "right" / "code.py").write_text("def {{ template }}:")
    assert {item.topic for item in read_corpus()} == {"toy.left"}


def test_a_subpackage_that_is_gone(one_library: Path) -> None:
    (one_library / "right" / "code.py").unlink()
    with pytest.raises(DataError, match=r"'toy.right' has no Python source in .*plora\[quickstart\]"):
        read_corpus()


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docstring_corpus, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"'scikit-learn', which is not installed.*plora\[quickstart\]"):
        library_root("sklearn")


def test_nothing_is_imported() -> None:
    code = (
        "import sys; from plora.streams.docstring_corpus import TOPICS, library_root\n"
        "[library_root(d) for d in ('scipy', 'sympy', 'sklearn', 'stdlib')]\n"
        "print([name for name in ('scipy', 'sympy', 'sklearn') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_real_corpus(corpus: list[DocumentedObject]) -> None:
    assert len(TOPIC_NAMES) == len(set(TOPIC_NAMES)) == 30
    assert {item.topic for item in corpus} == set(TOPIC_NAMES)
    assert len({item.key for item in corpus}) == len(corpus)
    assert [item.key for item in corpus] == sorted(item.key for item in corpus)


def test_no_library_is_named(corpus: list[DocumentedObject]) -> None:
    words = {word.strip(".,;:()'\"").lower() for item in corpus for word in item.text.split()}
    assert words.isdisjoint({*TOPICS, "scikit-learn", "pytorch", "numpy", "asyncio", "sparse", "unittest"})
    assert not any(">>>" in item.text or "np." in item.text.split() for item in corpus)


def test_the_cache_is_the_corpus_until_a_source_changes(one_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLORA_CACHE", str(one_library / "cache"))
    parsed = read_corpus()
    with monkeypatch.context() as patch:
        patch.setattr(docstring_corpus, "_objects", lambda *_: pytest.fail("parsed again"))
        assert read_corpus() == parsed
    (file,) = (one_library / "cache" / "docstrings").glob("*.json")
    file.write_text(file.read_text().replace("Add the numbers", "Add no numbers"))  # damaged: read anew
    assert read_corpus() == parsed
    source = one_library / "left/code.py"
    source.write_text(SOURCE.replace("Do one thing with it", "Do nothing at all with it"))
    assert any("nothing at all" in item.text for item in read_corpus())
