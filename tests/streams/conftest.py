from importlib.util import find_spec

import pytest

from plora.streams.docstring_corpus import DISTRIBUTIONS, DocumentedObject, read_corpus


@pytest.fixture(scope="session")
def corpus() -> list[DocumentedObject]:
    """The real corpus, read once for all tests."""
    for library in DISTRIBUTIONS:
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed (extra quickstart)")
    return read_corpus()
