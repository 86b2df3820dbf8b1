"""The docstrings of installed libraries as a corpus: found by path, parsed with `ast`, never imported.

Only the subpackages named in `TOPICS` are read. What is kept of a docstring is its prose: the description
before the first section, as plain paragraphs (see `prose`), each object once and each text once.
"""

import ast
import gc
import hashlib
import inspect
import platform
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from plora.cache import cache_folder, left_out
from plora.errors import DataError, RunError
from plora.sealed import read_sealed, write_sealed
from plora.streams import docstring_prose, hashing
from plora.streams.docstring_prose import normalised, prose, words_pattern
from plora.streams.hashing import text_key

ObjectKind = Literal["function", "method", "class"]

DISTRIBUTIONS: dict[str, str] = {
    "scipy": "scipy",
    "sympy": "sympy",
    "sklearn": "scikit-learn",
    "torch": "torch",
}
"""Domain (also the name of the package) → name of the distribution; the fifth domain is `stdlib`."""

TOPICS: dict[str, dict[str, tuple[str, ...]]] = {
    "scipy": {
        "interpolate": ("interpolate",),
        "linalg": ("linalg",),
        "optimize": ("optimize",),
        "signal": ("signal",),
        "sparse": ("sparse",),
        "stats": ("stats",),
    },
    "sympy": {
        "combinatorics": ("combinatorics",),
        "geometry": ("geometry",),
        "matrices": ("matrices",),
        "physics": ("physics/mechanics", "physics/quantum", "physics/units"),
        "polys": (
            "polys/domains",
            "polys/matrices",
            "polys/numberfields",
            "polys/polytools.py",
            "polys/rings.py",
        ),
        "solvers": ("solvers",),
    },
    "sklearn": {
        "cluster": ("cluster", "mixture"),
        "decomposition": (
            "decomposition",
            "manifold",
            "cross_decomposition",
            "covariance",
            "random_projection.py",
        ),
        "ensemble": ("ensemble", "tree"),
        "linear_model": ("linear_model", "svm"),
        "metrics": ("metrics",),
        "preprocessing": ("preprocessing", "impute", "feature_extraction"),
    },
    "torch": {
        "cuda": ("cuda",),
        "distributed": (
            "distributed/checkpoint",
            "distributed/elastic",
            "distributed/fsdp",
            "distributed/tensor",
        ),
        "distributions": ("distributions",),
        "fx": ("fx",),
        "nn": ("nn",),
        "onnx": ("onnx",),
    },
    "stdlib": {
        "asyncio": ("asyncio",),
        "email": ("email", "imaplib.py", "mailbox.py", "poplib.py", "smtplib.py"),
        "http": ("http", "urllib", "xmlrpc", "wsgiref", "ftplib.py", "socketserver.py", "ssl.py"),
        "logging": ("logging",),
        "multiprocessing": ("multiprocessing", "concurrent", "queue.py", "subprocess.py", "threading.py"),
        "unittest": ("unittest", "doctest.py"),
    },
}
"""Domain → subpackage → the folders and files that it is read from; some small ones take in their kin.
The standard library's are in every Python from 3.11 to 3.14."""

TOPIC_NAMES: tuple[str, ...] = tuple(f"{domain}.{topic}" for domain in TOPICS for topic in TOPICS[domain])

_LIBRARY_NAMES = (*DISTRIBUTIONS, "scikit", "scikit-learn", "pytorch", "numpy", "python", "stdlib")
_PARTS = tuple(part for topics in TOPICS.values() for parts in topics.values() for part in parts)

MASKED_WORDS = words_pattern(
    (
        *_LIBRARY_NAMES,
        *(topic for topics in TOPICS.values() for topic in topics),
        *(part.split("/")[0].removesuffix(".py") for part in _PARTS),
    )
)
"""Masked in every text, whatever its label: names of libraries, of subpackages, and of the top-level folders
and files that they are read from. The mask says that such a name stood there, not which."""

_SKIPPED_FOLDERS = frozenset({"test", "tests", "benchmarks", "externals", "_vendor"})


@dataclass(frozen=True)
class DocumentedObject:
    """One documented function, method or class.

    Args:
        topic: one of `TOPIC_NAMES`.
        module: path of its file inside the library, `sparse/_csr.py`.
        name: its own name.
        owner: the class around it, or `""`.
        kind: what it is.
        arguments: names of the parameters it takes, `self` and `cls` left out, `*args` and `**kwargs` by their names;
            None for a class.
        paragraphs: its prose; the first is the summary.
        key: hash of the normalised prose; decides the split, the same one for every question.
    """

    topic: str
    module: str
    name: str
    owner: str
    kind: ObjectKind
    arguments: tuple[str, ...] | None
    paragraphs: tuple[str, ...]
    key: int

    @property
    def parameters(self) -> int | None:
        """How many parameters it takes; None for a class."""
        return None if self.arguments is None else len(self.arguments)

    @property
    def text(self) -> str:
        """The whole prose in one line."""
        return " ".join(self.paragraphs)


def library_root(domain: str) -> Path:
    """Return the folder of a library without importing it.

    Raises:
        DataError: the library is not installed.
    """
    if domain == "stdlib":
        return Path(sysconfig.get_path("stdlib"))
    spec = find_spec(domain)
    if spec is None or not spec.submodule_search_locations:
        how = 'pip install "plora[quickstart]"' if domain in DISTRIBUTIONS else "pip, by the name of its distribution"
        raise DataError(
            f"the docstring streams read the library '{DISTRIBUTIONS.get(domain, domain)}', which is not installed; "
            f"install it with: {how}"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def library_versions() -> dict[str, str]:
    """Return the version of each library that is read, by distribution name, and of Python."""
    return {"python": platform.python_version()} | {name: version_of(name) for name in DISTRIBUTIONS.values()}


def version_of(distribution: str) -> str:
    """Return the version of an installed distribution, `unknown` where nothing says it."""
    try:
        return version(distribution)
    except PackageNotFoundError:  # a source checkout on the path carries no metadata
        return "unknown"


def read_corpus() -> list[DocumentedObject]:
    """Read every documented object of `TOPICS`, de-duplicated, sorted by key.

    Parsing takes seconds, so the result is kept in the cache until a source file of the libraries changes. Of objects
    with the same normalised prose one is kept if all are in the same topic, and none if they are not: such a text
    has no one right label.

    Raises:
        DataError: a library or one of its subpackages is missing.
    """
    sources = list(_all_sources())
    cache = cache_folder()
    path = None if cache is None else cache / "docstrings" / f"{_state(sources)}.json"
    if path is not None and (cached := _read(path)) is not None:
        return cached
    found: dict[int, DocumentedObject] = {}
    ambiguous: set[int] = set()
    with no_garbage_collection():
        for source in sources:
            for item in _objects(source.file, source.module, source.topic):
                known = found.setdefault(item.key, item)
                if known.topic != item.topic:
                    ambiguous.add(item.key)
    corpus = [found[key] for key in sorted(found) if key not in ambiguous]
    if path is not None:
        try:
            write_sealed(path, {"objects": [asdict(item) for item in corpus]})
        except OSError as error:  # costs time, and nothing else
            left_out(error)
    return corpus


def _state(sources: Iterable["_Source"]) -> str:
    """Hash of all that the corpus depends on: the code that parses, and name, size and date of every source file."""
    digest = hashlib.sha256(platform.python_version().encode())
    for code in (Path(__file__), Path(docstring_prose.__file__), Path(hashing.__file__)):
        digest.update(code.read_bytes())
    for source in sources:
        status = source.file.stat()
        digest.update(f"{source.file}|{source.topic}|{status.st_size}|{status.st_mtime_ns};".encode())
    return digest.hexdigest()


def _read(path: Path) -> list[DocumentedObject] | None:
    """The corpus in a cache file; None where there is none, or it is damaged (it is then written again)."""
    try:
        rows = read_sealed(path).get("objects")
        if not isinstance(rows, list):
            return None
        lists = ("paragraphs", "arguments")
        return [
            DocumentedObject(**{**row, **{name: None if row[name] is None else tuple(row[name]) for name in lists}})
            for row in rows
        ]
    except (RunError, LookupError, TypeError):
        return None


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Read syntax trees inside the `with` block in less time."""
    # Syntax trees are millions of objects that die by themselves; scanning them over and over, together with all
    # that other libraries keep alive, takes a third of the time.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Source(NamedTuple):
    """A file to parse, its path inside the library, and its topic."""

    file: Path
    module: str
    topic: str


def _all_sources() -> Iterator[_Source]:
    for domain, topics in TOPICS.items():
        root = library_root(domain)
        for topic, parts in topics.items():
            label = f"{domain}.{topic}"
            files = list(_source_files(root, parts))
            if not files:
                raise DataError(
                    f"'{label}' has no Python source in {root}; the library is of an untested version, or is "
                    'installed without its sources; install it with: pip install "plora[quickstart]"'
                )
            for file in files:
                yield _Source(file, file.relative_to(root).as_posix(), label)


def _source_files(root: Path, parts: Iterable[str]) -> Iterator[Path]:
    for part in parts:
        path = root / part
        if path.is_file():
            yield path
        else:
            for file in sorted(path.rglob("*.py")):
                if not _SKIPPED_FOLDERS.intersection(file.relative_to(root).parts):
                    yield file


def parsed(file: Path) -> ast.Module:
    """Return the syntax tree of a source file; an empty one of a template, or of a file for another Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # invalid escapes in other people's docstrings
            return ast.parse(file.read_bytes())
    except SyntaxError:
        return ast.Module([], [])


def _objects(file: Path, module: str, topic: str) -> Iterator[DocumentedObject]:
    for node, owner in definitions(parsed(file).body, ""):
        docstring = ast.get_docstring(node, clean=False)
        if not docstring:
            continue
        paragraphs = prose(inspect.cleandoc(docstring), MASKED_WORDS)
        key_text = normalised(" ".join(paragraphs))
        if not key_text:
            continue
        is_class = isinstance(node, ast.ClassDef)
        yield DocumentedObject(
            topic=topic,
            module=module,
            name=node.name,
            owner=owner,
            kind="class" if is_class else "method" if owner else "function",
            arguments=None if isinstance(node, ast.ClassDef) else _arguments(node, owner),
            paragraphs=paragraphs,
            key=text_key(key_text),
        )


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(body: Iterable[ast.stmt], owner: str) -> Iterator[tuple[Definition, str]]:
    """Yield functions, methods and classes of a module, each with the name of the class around it, or of `owner`."""
    # Not ast.walk: functions inside functions are no public objects, and skipping bodies is much faster.
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, owner
        elif isinstance(node, ast.ClassDef):
            yield node, owner
            yield from definitions(node.body, node.name)
        elif isinstance(node, ast.If | ast.Try):
            yield from definitions(node.body, owner)
            yield from definitions(node.orelse, owner)


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef, owner: str) -> tuple[str, ...]:
    arguments = node.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in node.decorator_list)
    if owner and names and not static:
        names = names[1:]
    others = (*arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    return (*names, *(other.arg for other in others if other is not None))
