"""How often the router names the right task, by the depths of the bare network that it reads; on validation data.

    python -m benchmarks.router --data FOLDER

The streams, texts and network are those of `benchmarks.text`; nothing is trained.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import evidence
from benchmarks.text import STREAMS, TRAINED, Asked, plan
from plora.build import Workspace, build
from plora.config import load_config
from plora.gates import Router


def task_accuracy(train: list[Tensor], rows: list[Tensor], validation: list[Tensor]) -> float:
    """Mean over tasks of the share of validation texts for which the router names the task.

    Args:
        train, validation: features `[N, D, d]` of each task.
        rows: `[N]` classes of the training texts.
    """
    router = Router()
    for position, (features, classes) in enumerate(zip(train, rows, strict=True)):
        router.learn(position, features, classes)
    shares = [(router.choose(features) == task).double().mean() for task, features in enumerate(validation)]
    return float(torch.stack(shares).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--output", type=Path, default=Path("runs"))
    given = parser.parse_args()
    workspace, found = Workspace(), {}
    for name in STREAMS:
        asked = Asked(name, given.data, given.output, "fp32", TRAINED)
        parts = build(load_config(plan(asked).config, ["method=routed", "lora.layers=all"]), workspace)
        splits = [{name: task.splits[name] for name in ("train", "validation")} for task in parts.tasks]
        extracted = [
            {name: parts.learner.extractor.bare_features(split) for name, split in of.items()} for of in splits
        ]
        rows = [torch.from_numpy(of["train"].rows) for of in splits]
        depths = extracted[0]["train"].shape[1]
        read = {
            "the output alone": slice(depths - 1, depths),
            "what enters the last block, and the output": slice(depths - 2, depths),
            "what enters the last three blocks, and the output": slice(depths - 4, depths),
            "what enters each block, and the output": slice(0, depths),
        }
        found[name] = {
            what: round(
                task_accuracy(
                    [of["train"][:, part] for of in extracted], rows, [of["validation"][:, part] for of in extracted]
                ),
                4,
            )
            for what, part in read.items()
        }
        print(name, found[name], flush=True)
    evidence.write("router", {"streams": found}, "python -m benchmarks.router --data FOLDER")


if __name__ == "__main__":
    main()
