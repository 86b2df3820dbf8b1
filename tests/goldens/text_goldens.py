"""What every text method learns on a tiny stream, as hashes.

`python tests/goldens/text_goldens.py NAME …` makes runs and prints them as JSON, without names all of them; with
`--write` they go to `text.json`, where other runs stay as they are.
The process computes with plain instructions, so that the bits are the same on any x86 machine; `test_goldens.py` starts
it so.
"""

import hashlib
import json
import os
import random
import sys
import tempfile
from pathlib import Path

PLAIN = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}
"""Instructions that every x86 machine has, and one thread."""
HERE = Path(__file__).parent
FILE = HERE / "text.json"

WORDS = {
    "food": (["apple", "pear", "plum"], ["loaf", "crust", "rye"]),
    "travel": (["train", "track", "ticket"], ["plane", "pilot", "wing"]),
    "nature": (["wave", "reef", "tide"], ["tree", "moss", "fern"]),
}
FILLER = ["the", "a", "of", "and", "in", "very", "old", "new"]


def runs() -> dict[str, list[str]]:
    """Return the overrides of every run by its name: every method in every scenario that it has, every head.

    Of the heads that are trained step by step, the default; the others with one method each. Heads that are solved over
    slots which each task trains: two of them, with and without drift.
    """
    from plora.methods import METHODS, SOLVED, STEPPED

    found = {}
    for method in METHODS.values():
        for scenario in ("task", "class", "domain"):
            for head in method.heads if scenario not in method.refusals else ():
                if head in STEPPED[1:] or (head in SOLVED and method.slots in ("one", "per_task")):
                    continue
                found[f"{scenario} {method.name} {head}"] = [
                    f"scenario={scenario}",
                    f"method={method.name}",
                    f"head={head}",
                ]
    found["class o_lora seen"] = ["scenario=class", "method=o_lora", "loss_rows=seen"]
    found["class sequential last"] = ["scenario=class", "method=sequential", "lora.layers=last 1"]
    found["class replay early"] = ["scenario=class", "method=replay", "training.early_stop=1", "training.epochs=3"]
    found["class o_lora ranpac"] = ["scenario=class", "method=o_lora", "head=ranpac", "drift=linear"]
    found["task per_task ridge"] = ["scenario=task", "method=per_task", "head=ridge"]
    found["class sequential cosine"] = ["scenario=class", "method=sequential", "head=cosine"]
    return found


def make_world(place: Path) -> dict[str, object]:
    """Write a tiny BERT and a stream of three tasks, and return the values of a config that learns it."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = [word for classes in WORDS.values() for own in classes for word in own]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *FILLER, *words]
    backbone = place / "bert"
    backbone.mkdir()
    (backbone / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(vocab=str(backbone / "vocab.txt"), model_max_length=32).save_pretrained(backbone)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(backbone)
    rng = random.Random(0)
    tasks = []
    for task, classes in WORDS.items():
        entry: dict[str, object] = {"name": task}
        for split, count in (("train", 16), ("validation", 4), ("test", 6)):
            rows = []
            for label, own in enumerate(classes):
                for _ in range(count):
                    chosen = [*rng.choices(FILLER, k=rng.randint(1, 4)), *rng.choices(own, k=2)]
                    rng.shuffle(chosen)
                    rows.append(json.dumps({"text": " ".join(chosen), "label": f"{label}", "own": f"{task} {label}"}))
            path = place / f"{task}-{split}.jsonl"
            path.write_text("\n".join(rows), encoding="utf-8")
            entry[split] = str(path)
        tasks.append(entry)
    return {
        "name": "golden",
        "stream": {"kind": "local", "name": "golden", "tasks": tasks},
        "backbone": {"id": str(backbone), "max_length": 16},
        "lora": {"rank": 2, "alpha": 4},
        "training": {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "micro_batch_size": 5},
        "output": str(place / "runs"),
    }


def learned(folder: Path) -> dict[str, object]:
    """Return what a run has learned and measured, as hashes."""
    from plora.results import ClassRankings, read_record

    record = read_record(folder)
    said = hashlib.sha256()
    for file in sorted(folder.glob("predictions/*.parquet")):
        found = ClassRankings.read(file)
        said.update(json.dumps([file.stem, found.task.tolist(), found.label.tolist(), found.ranking.tolist()]).encode())
        said.update(found.probabilities.tobytes())
    results = {
        "tasks": record.tasks,
        "matrix": [[cell.hex() for cell in row] for row in record.matrix.tolist()],
        "metrics": {name: None if m.value is None else m.value.hex() for name, m in record.metrics.items()},
        "gates": [{name: share.hex() for name, share in gate.items()} for gate in record.gates],
    }
    names = {
        what: hashlib.sha256("\n".join(sorted(path.name for path in folder.glob(f"{what}/*"))).encode()).hexdigest()
        for what in ("slots", "heads", "gates", "strategies")
        if any(folder.glob(f"{what}/*"))
    }
    backbones = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.rglob("backbone.safetensors"))]
    return {
        **names,
        **({"backbones": backbones} if backbones else {}),
        "predictions": said.hexdigest(),
        "results": hashlib.sha256(json.dumps(results).encode()).hexdigest(),
        "last": [round(cell, 3) for cell in record.matrix[-1].tolist()],
    }


def main(names: list[str]) -> dict[str, dict[str, object]]:
    """Make runs and return what they learned."""
    import plora
    from plora.build import Workspace
    from plora.heads import random_features

    random_features.RANDOM_FEATURES = 50
    found = {}
    with tempfile.TemporaryDirectory() as place:
        os.environ["PLORA_CACHE"] = f"{place}/cache"
        os.chdir(place)
        values, workspace, all_runs = make_world(Path(place)), Workspace(), runs()
        for name in names or all_runs:
            overrides = [*all_runs[name], f"output={place}/runs/{name.replace(' ', '-')}"]
            domain = {**values["stream"], "tasks": [dict(task) for task in values["stream"]["tasks"]]}
            if all_runs[name][0] != "scenario=domain":
                for task in domain["tasks"]:
                    task["label"] = "own"
            config = plora.load_config({**values, "stream": domain}, overrides)
            from plora.events.console import Console

            folder = plora.run(config, Console(silent=True), workspace)
            found[name] = learned(folder)
    return found


if __name__ == "__main__":
    if any(os.environ.get(key) != value for key, value in PLAIN.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **PLAIN})
    given = [argument for argument in sys.argv[1:] if argument != "--write"]
    made = main(given)
    if "--write" in sys.argv:
        every = {**json.loads(FILE.read_text(encoding="utf-8")), **made}
        kept = {name: every[name] for name in runs() if name in every}
        FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    else:
        print(json.dumps(made, indent=1))
