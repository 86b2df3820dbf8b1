"""The house: imports between files never run in a circle, and lower rooms do not know upper ones."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import plora

PACKAGE = Path(plora.__file__).parent

UPPER = tuple(f"plora.{room}" for room in ("cli", "runs", "build", "training", "run_folder", "config", "dry_run"))
LOWER = ("adapters", "gates", "heads", "problems", "streams", "results", "strategies")


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> set[str]:
    """Modules of plora that a file imports when it is imported itself (functions' own imports excluded)."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("plora"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


FILES = {_module(path): path for path in PACKAGE.rglob("*.py")}


def test_no_import_runs_in_a_circle() -> None:
    graph = {
        name: {
            other for other in _imports(path) if other in FILES and other != name and not name.startswith(other + ".")
        }
        for name, path in FILES.items()
    }
    for name in graph:  # a package's __init__ only re-exports: look through it at the files themselves
        graph[name] = {other for other in graph[name] if FILES[other].name != "__init__.py"}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("room", LOWER)
def test_lower_rooms_do_not_import_upper_ones(room: str) -> None:
    for name, path in FILES.items():
        if name.startswith(f"plora.{room}"):
            upward = {other for other in _imports(path) if other.startswith(UPPER)}
            assert not upward, f"{name} imports {sorted(upward)}"


def test_results_know_no_torch() -> None:
    for path in (PACKAGE / "results").rglob("*.py"):
        assert "import torch" not in path.read_text(encoding="utf-8"), path


def test_nothing_is_pickled() -> None:
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "pickle" not in text.replace("pickled weights", "").replace("pickled", ""), path
        assert "torch.load(" not in text, path
        assert "torch.save(" not in text, path
