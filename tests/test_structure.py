"""The house: imports never run in a circle, between files or between rooms, and lower rooms do not know upper ones."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import plora

PACKAGE = Path(plora.__file__).parent
LIGHT = ("moment", "errors", "settings", "atomic", "sealed", "fingerprint", "results", "streams")
"""Rooms and files that others stand on: they know no room above them."""
ABOVE = ("training", "run_folder", "build", "runs", "sweep", "cli", "testing", "export", "dry_run")


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_module(path): path for path in PACKAGE.rglob("*.py")}


def _for_types(tree: ast.Module) -> set[ast.AST]:
    """What stands under `if TYPE_CHECKING:`, which is never imported."""
    checks = (node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {inner for check in checks for inner in ast.walk(check)}


def _homes() -> dict[tuple[str, str], str]:
    """The module that a package takes a name from, whether it imports it or loads it when it is first used."""
    found: dict[tuple[str, str], str] = {}
    for package, path in FILES.items():
        if path.name != "__init__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "names_from":
                for module, names in ast.literal_eval(node.args[1]).items():
                    found |= {(package, name): f"{package}.{module}" for name in names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("plora"):
                found |= {(package, alias.asname or alias.name): node.module for alias in node.names}
    return found


HOMES = _homes()


def _home(module: str, name: str) -> str:
    if f"{module}.{name}" in FILES:
        return f"{module}.{name}"
    while HOMES.get((module, name), module) != module:
        module = HOMES[module, name]
    return module


def _imports(path: Path) -> Iterator[str]:
    """Modules of plora that a file imports, inside its functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in set(ast.walk(tree)) - _for_types(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("plora"):
            yield from (_home(node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("plora."))


# A package's own file only re-exports: what is imported from it is looked for behind it.
GRAPH = {
    name: {other for other in _imports(path) if other in FILES and other != name and FILES[other].name != "__init__.py"}
    for name, path in FILES.items()
    if path.name != "__init__.py"
}


def _room(module: str) -> str:
    return module.split(".")[1]


def test_no_import_runs_in_a_circle() -> None:
    assert list(TopologicalSorter(GRAPH).static_order())


def test_no_room_is_above_and_below_another() -> None:
    rooms: dict[str, set[str]] = {}
    for name, others in GRAPH.items():
        rooms.setdefault(_room(name), set()).update({_room(other) for other in others} - {_room(name)})
    assert list(TopologicalSorter(rooms).static_order())


def test_lower_rooms_do_not_import_upper_ones() -> None:
    upward = {
        (name, other)
        for name, others in GRAPH.items()
        for other in others
        if _room(name) not in ABOVE and _room(other) in ABOVE and _room(name) not in ("callback", "params")
    }
    assert not {pair for pair in upward if _room(pair[0]) in (*LIGHT, "adapters", "gates", "heads", "problems")}
    assert not {pair for pair in upward if _room(pair[0]) in ("strategies", "generators", "batches", "config", "model")}


def test_results_know_no_torch() -> None:
    for path in (PACKAGE / "results").rglob("*.py"):
        assert "import torch" not in path.read_text(encoding="utf-8"), path


def test_the_loop_draws_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, plora.training.stream; print('matplotlib' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_one_place_steps_an_optimizer() -> None:
    own = {"training/phase.py", "training/step.py"}
    for path in PACKAGE.rglob("*.py"):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix()
        if name not in own:
            assert "optimizer.step()" not in text, name
            assert ".backward(" not in text, name


def test_nothing_is_pickled() -> None:
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "pickle" not in text.replace("pickled weights", "").replace("pickled", ""), path
        assert "torch.load(" not in text, path
        assert "torch.save(" not in text, path


def test_no_two_files_of_tests_have_the_same_name() -> None:
    """pytest imports them by that name: it refuses the second, after running all others."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
