"""What the README shows is executed; what it names exists."""

import re
from pathlib import Path

import pytest
import yaml
from transformers import AutoModel

from plora.cli import VERBS
from plora.methods import METHODS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_examples_run(
    tiny_backbone: Path, toy_values: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mail = toy_values | {"scenario": "class", "output": "runs"}
    Path("mail.yaml").write_text(yaml.safe_dump(mail))
    names: dict[str, object] = {"network": AutoModel.from_pretrained(tiny_backbone)}
    for block in _blocks("python"):
        exec(block, names)
    assert (tmp_path / "reviews-adapter/adapter_model.safetensors").is_file()
    assert (tmp_path / "runs/toy/o_lora/seed-1/results.json").is_file()


def test_every_verb_that_is_shown_exists_and_every_verb_is_shown() -> None:
    shown = set(re.findall(r"^plora (\w+)", "".join(_blocks("bash")), flags=re.MULTILINE))
    assert shown == set(VERBS)


def test_the_method_table_is_the_method_table() -> None:
    rows = re.findall(r"^\| `(\w+)`.*\| ([\w, ]+) \|$", README, flags=re.MULTILINE)
    table = {name: scenarios.split(", ") for name, scenarios in rows if name in METHODS}
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
