"""What the README shows is executed; what it names exists."""

import ast
import builtins
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from plora.cli import GROUPS, VERBS
from plora.methods import METHODS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
DOCS = Path(__file__).parent.parent / "docs"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def _undefined(block: str) -> set[str]:
    """Names that a block reads and nobody has defined: what a reader has to bring to it."""
    names = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Name)]
    imported = {
        alias.asname or alias.name for node in ast.walk(ast.parse(block)) for alias in getattr(node, "names", ())
    }
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)} | imported | set(dir(builtins))
    return {node.id for node in names} - stored


BROUGHT = {
    "mail.yaml": "",  # and the data that it names
}
"""What no block can have: a reader's own config; here a tiny one."""


@pytest.mark.parametrize("number", range(len(_blocks("python"))))
def test_each_python_example_runs_as_it_is_pasted(
    number: int, tiny_backbone: Path, toy_values: dict[str, object], tmp_path: Path
) -> None:
    """In an interpreter and a folder of its own, with nothing before it but what it says that a reader brings."""
    block = _blocks("python")[number]
    shutil.copytree(tiny_backbone, tmp_path / "tiny")
    (tmp_path / "mail.yaml").write_text(yaml.safe_dump(toy_values | {"scenario": "class", "output": "runs"}))
    brought = {*_undefined(block), *re.findall(r'"([\w-]+\.\w+)"', block)}
    assert brought <= BROUGHT.keys()
    before = "".join(BROUGHT[name] for name in sorted(brought))
    done = subprocess.run([sys.executable, "-c", before + block], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for folder in re.findall(r'save_lora\(model, "([\w-]+)"', block):
        assert (tmp_path / folder / "adapter_model.safetensors").is_file()
    if "plora.run(" in block:
        assert (tmp_path / "runs/toy/o_lora/seed-1/results.json").is_file()
        labels = ast.literal_eval(done.stdout.splitlines()[-1])
        assert set(labels) <= {"fruit", "bread", "rail", "air", "sea", "wood"}


def test_every_verb_that_is_shown_exists_and_every_verb_is_shown() -> None:
    commands = (DOCS / "guide" / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `plora (\w+)", commands, flags=re.MULTILINE)) == {*VERBS, *GROUPS}
    assert set(re.findall(r"`plora (\w+)", README)) <= {*VERBS, *GROUPS}


def test_the_method_table_is_the_method_table() -> None:
    page = (DOCS / "methods.md").read_text(encoding="utf-8")
    table = {
        name: scenarios.split(", ")
        for names, scenarios in re.findall(r"^\| \[(.*?)\].*\| ([\w, ]+) \|$", page, flags=re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert table == {
        name: [scenario for scenario in ("task", "class", "domain") if scenario not in method.refusals]
        for name, method in METHODS.items()
    }


def test_the_file_tree_is_the_file_tree() -> None:
    (tree,) = re.findall(r"^```\nplora/\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    package = Path(__file__).parent.parent / "plora"
    named = set(re.findall(r"^  ([\w.]+)/?\s", tree, flags=re.MULTILINE))
    missing = {name for name in named if not (package / name).exists()}
    assert not missing
    rooms = {path.name for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms <= named
