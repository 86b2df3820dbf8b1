import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import plora.results

ROOT = Path(plora.results.__file__).parent
ROOMS = ("record", "metrics", "comparison", "tables", "pictures", "report")
BELOW = (
    "plora.errors",
    "plora.atomic",
    "plora.regular",
    "plora.sealed",
    "plora.shown",
    "plora.lazy",
    "plora.streams.base",
    "plora.streams.label_tree",
    "plora.streams.overlap",
)
"""All that this room knows of the others."""


def imported(program: str) -> set[str]:
    """Return the modules that a new process has after some statements."""
    program = f"import sys\n{program}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import plora.results",
        *(
            f"import plora.results.record.{file.stem}"
            for file in sorted((ROOT / "record").glob("*.py"))
            if file.stem != "__init__"
        ),
        "from plora.results import RunRecord, read_record, write_record",
    ],
)
def test_records_are_light(statement: str) -> None:
    heavy = {"torch", "transformers", "datasets", "matplotlib", "jinja2", "scipy", "statsmodels"}
    assert not heavy & imported(statement)


def test_results_need_no_torch() -> None:
    assert not {"torch", "transformers", "datasets", "matplotlib.pyplot"} & imported("from plora.results import *")


def test_all_is_what_is_public() -> None:
    for name in plora.results.__all__:
        value = getattr(plora.results, name)
        assert not isinstance(value, type(sys)), f"{name} is a room, not what stands in it"
    assert len(plora.results.__all__) == len(set(plora.results.__all__))
    with pytest.raises(AttributeError, match="no attribute 'forgeting'"):
        _ = plora.results.forgeting


def imports_of(path: Path) -> set[str]:
    """Return the modules of plora that a file names, in its functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("plora")
    }


def test_no_file_and_no_room_is_part_of_a_circle() -> None:
    files = {
        "plora.results." + ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in ROOT.rglob("*.py")
        if path.name != "__init__.py"
    }
    graph = {name: {other for other in imports_of(path) if other in files} for name, path in files.items()}
    assert list(TopologicalSorter(graph).static_order())
    for name, path in files.items():
        room = ROOMS.index(name.split(".")[2])
        for other in imports_of(path):
            if other.startswith("plora.results."):
                assert ROOMS.index(other.split(".")[2]) <= room, f"{name} imports {other}"
            else:
                assert other.startswith(BELOW), f"{name} imports {other}"
