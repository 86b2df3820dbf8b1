"""A cascade for those who do not have plora: an export of each run, and a script that walks the tree."""

from pathlib import Path

from plora import atomic
from plora.cascade.folder import read_cascade
from plora.cascade.labelling import tree_of
from plora.cascade.members import Members
from plora.errors import RunError
from plora.export import SCRIPT_FILE, export
from plora.shown import markdown_cell

TREE_FILE = "tree.json"
_SCRIPT = '''"""Label inputs with a tree of questions: python inference.py "a text" …, or files of images."""

import argparse
import importlib.util
import json
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREE = json.loads((HERE / "tree.json").read_text(encoding="utf-8"))


@cache
def model(folder):
    spec = importlib.util.spec_from_file_location(folder.replace("-", "_"), HERE / folder / "inference.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def predict(inputs):
    """Return leaf -> probability of each input: the product of the probabilities on the way to the leaf."""
    reached = [{TREE["root"]: 1.0} for _ in inputs]
    for node, answers in TREE["nodes"].items():
        said = [model(one["folder"]).predict(inputs, one["task"]) for one in TREE["models"][node]]
        for number, found in enumerate(reached):
            for answer in answers:
                found[answer] = found[node] * sum(of_model[number][answer] for of_model in said) / len(said)
    return [{leaf: found[leaf] for leaf in TREE["leaves"]} for found in reached]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("inputs", nargs="+")
    for one in parser.parse_args().inputs:
        labels = predict([tuple(one.split("\\t", 1)) if "\\t" in one else one])[0]
        ranked = dict(sorted(labels.items(), key=lambda pair: -pair[1]))
        print(json.dumps(dict(input=one, labels=ranked), ensure_ascii=False))
'''


def export_cascade(folder: Path, out: Path, merged: bool = False) -> Path:
    """Write a cascade as a folder that is used without plora, in fp32: its `inference.py` labels inputs.

    Args:
        folder: of `plora cascade evaluate`.
        out: the folder to write; must be new.
        merged: one plain network for each node and run, instead of adapters for PEFT beside the pretrained one.

    Returns:
        The folder that was written.

    Raises:
        RunError: the folder exists, a run is damaged or cannot be exported.
        AdapterError: the slots are of a kind that PEFT, or a plain network, cannot hold.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists already; nothing was changed. Choose another folder with --out")
    cascade = read_cascade(folder)
    tree = tree_of(cascade, folder)
    members = Members.of(cascade, tree, lambda what, done, of: None)
    with atomic.atomic_folder(out) as place:
        written: dict[tuple[Path, str | None], str] = {}
        models: dict[str, list[dict[str, str]]] = {}
        for node in tree.names:
            for member in members.nodes[node]:
                task = member.task
                key = (member.run.path, task if merged else None)
                if key not in written:
                    written[key] = f"model-{len(written) + 1}"
                    export(member.run.path, place / written[key], key[1], merged)
                models.setdefault(node, []).append({"folder": written[key], "task": task or "all"})
        nodes = {node: list(tree.nodes[node]) for node in tree.names}
        content = {"root": tree.root, "nodes": nodes, "leaves": list(tree.leaves), "models": models}
        atomic.write_json(place / TREE_FILE, content)  # type: ignore[arg-type]  # JSON, as its parts are
        atomic.write_text(place / SCRIPT_FILE, _SCRIPT)
        atomic.write_text(place / "README.md", _card(nodes, models))
    return out


def _card(nodes: dict[str, list[str]], models: dict[str, list[dict[str, str]]]) -> str:
    """What the folder is, in Markdown."""
    rows = "".join(
        f"| {markdown_cell(node)} | {markdown_cell(', '.join(answers))} | "
        f"{', '.join(one['folder'] for one in models[node])} |\n"
        for node, answers in nodes.items()
    )
    return (
        "# A tree of classifiers\n\nEach node is answered by what learned it; the probability of a leaf is the "
        "product of those on its way.\n\n| node | answers | asked in |\n| --- | --- | --- |\n"
        f"{rows}\n```bash\npython inference.py INPUT…\n```\n"
    )
