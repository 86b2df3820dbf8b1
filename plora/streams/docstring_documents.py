"""Whole docstrings of an installed package as documents: found by path, parsed with `ast`, never imported.

A docstring stays as it is written, sections, formulas and examples included: what a language model learns to write.
"""

import ast
import hashlib
import inspect
import platform
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from plora.cache import cache_folder, left_out
from plora.errors import DataError, RunError
from plora.sealed import read_sealed, write_sealed
from plora.streams import docstring_corpus
from plora.streams.docstring_corpus import (
    DISTRIBUTIONS,
    definitions,
    library_root,
    no_garbage_collection,
    parsed,
    version_of,
)

STANDARD_LIBRARY = "stdlib"
SHORTEST = 100
"""Bytes of the shortest docstring that is read: "Return the name." teaches nobody to write."""

_SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "benchmarks", "externals", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo"}
)
_SHORT = f"shorter than {SHORTEST} bytes"
_HALF = "with half a character"


def docstring_documents(package: str) -> tuple[tuple[str, ...], Counter[str]]:
    """Return the docstrings of all modules, classes, methods and functions of a package, and how many were left out.

    Folders of tests, and those whose name begins with `_`, are not read. Parsing takes seconds, so the result is kept
    in the cache until a source file of the package changes.

    Args:
        package: the name by which it is imported, or `stdlib`.

    Raises:
        DataError: it is not installed, or has no docstrings.
    """
    root = library_root(package)
    files = list(_source_files(root))
    cache = cache_folder()
    path = None if cache is None else cache / "docstrings" / f"{package}-{_state(root, files)}.json"
    if path is not None and (kept := _read(path)) is not None:
        return kept
    documents: list[str] = []
    lost: Counter[str] = Counter()
    with no_garbage_collection():
        for file in files:
            for text in _docstrings(file):
                try:
                    size = len(text.encode())
                except UnicodeEncodeError:
                    lost[_HALF] += 1
                    continue
                if size < SHORTEST:
                    lost[_SHORT] += 1
                else:
                    documents.append(text)
    if not documents:
        raise DataError(
            f"'{package}' has no docstring of {SHORTEST} bytes in {root}; name a package that is installed with its "
            "sources"
        )
    if path is not None:
        try:
            write_sealed(path, {"documents": [*documents], "left_out": dict(lost)})
        except OSError as error:  # costs time, and nothing else
            left_out(error)
    return tuple(documents), lost


def package_version(package: str) -> str:
    """Return the version of a package, or of Python for its standard library."""
    if package == STANDARD_LIBRARY:
        return platform.python_version()
    return version_of(DISTRIBUTIONS.get(package, package))  # unknown too where a distribution has another name


def _source_files(root: Path) -> Iterator[Path]:
    for file in sorted(root.rglob("*.py")):
        folders = file.relative_to(root).parts[:-1]
        if not any(folder in _SKIPPED_FOLDERS or folder.startswith("_") for folder in folders):
            yield file


def _state(root: Path, files: list[Path]) -> str:
    """Hash of all that the documents depend on: the code that parses, and name, size and date of every source file."""
    digest = hashlib.sha256(platform.python_version().encode())
    for code in (Path(__file__), Path(docstring_corpus.__file__)):
        digest.update(code.read_bytes())
    for file in files:
        status = file.stat()
        digest.update(f"{file.relative_to(root).as_posix()}|{status.st_size}|{status.st_mtime_ns};".encode())
    return digest.hexdigest()[:32]


def _read(path: Path) -> tuple[tuple[str, ...], Counter[str]] | None:
    """What a cache file holds; None where there is none, or it is damaged (it is then written again)."""
    try:
        content = read_sealed(path)
    except RunError:
        return None
    documents, lost = content.get("documents"), content.get("left_out")
    if not isinstance(documents, list) or not isinstance(lost, dict):
        return None
    return tuple(map(str, documents)), Counter({name: int(str(count)) for name, count in lost.items()})


def _docstrings(file: Path) -> Iterator[str]:
    tree = parsed(file)
    for node in (tree, *(node for node, _ in definitions(tree.body, ""))):
        if docstring := ast.get_docstring(node, clean=False):
            yield inspect.cleandoc(docstring)
