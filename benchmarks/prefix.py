"""The second epoch and the second seed with what enters the last three blocks kept on disk, against computing it."""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from benchmarks import evidence
from plora.atomic import JsonValue
from plora.backbones import MINILM, BackboneConfig, find_backbone, no_progress_bar
from plora.batches.plan import plan_epoch
from plora.build import Parts, Workspace, build
from plora.config import RunConfig, load_config
from plora.configs import find_config
from plora.lesson import Lesson
from plora.moment import Moment
from plora.optimizers import AdamW, make_optimizer
from plora.training.course import plan_course
from plora.training.flops import FlopCounter
from plora.training.stage import begin_lesson, open_stage
from plora.training.step import Backward

EPOCHS = 2


class Learning:
    """The first task of one seed, learned step by step, with or without states on disk."""

    def __init__(self, config: RunConfig, workspace: Workspace, kept: bool) -> None:
        parts = build(config, workspace)
        if not kept:
            bare = replace(parts.learner.extractor, prefix=None)
            parts = replace(parts, learner=replace(parts.learner, extractor=bare))
        self.parts: Parts = parts
        self.plan = plan_course(parts)[0]
        self.stage = self.plan.stage
        open_stage(parts, self.plan)
        self.lesson: Lesson = begin_lesson(parts, self.plan)
        settings = config.training
        trained = parts.model.trainable()
        part_of = dict.fromkeys(trained, "adapter")
        self.optimizer = make_optimizer(trained, part_of, AdamW(), (), settings.learning_rate, settings.weight_decay)
        lengths = self.stage.train.costs
        self.epochs = [plan_epoch(lengths, settings.batch_size, config.seed, 0, 0, epoch) for epoch in range(EPOCHS)]

    def prepare(self) -> float:
        """Return the seconds until what enters the last blocks is at hand for all training texts."""
        started = time.perf_counter()
        self.parts.learner.extractor.prepare(self.stage.train)
        return time.perf_counter() - started

    def step(self, epoch: int, number: int) -> float:
        """Return the seconds of one optimizer step."""
        started = time.perf_counter()
        indices = self.epochs[epoch][number]
        self.parts.model.train()
        Backward(self.parts, self.plan, self.lesson, len(indices)).run(indices, Moment(0, number, 1, epoch), draw=0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - started

    def operations(self) -> int:
        """Return the floating-point operations of the first step."""
        with FlopCounter() as counter:
            self.step(0, 0)
        return int(counter.get_total_flops())

    def score(self) -> float:
        """Return the seconds until the test split has features."""
        started = time.perf_counter()
        self.parts.learner.extractor.features(self.stage.tasks[0].splits["test"], self.lesson.task)
        return time.perf_counter() - started


Seconds = dict[str, float]


def learn(kept: Learning, computed: Learning) -> tuple[Seconds, Seconds]:
    """Return the seconds of each part of learning one task in both ways, steps in turns: noise disturbs both."""
    ways = (kept, computed)
    found: tuple[Seconds, Seconds] = ({}, {})
    for way, seconds in zip(ways, found, strict=True):
        way.step(0, 0)  # warm up, before anything is prepared
        seconds["prepare"] = way.prepare()
    for epoch in range(EPOCHS):
        for seconds in found:
            seconds[f"epoch {epoch + 1}"] = 0.0
        for number in range(len(kept.epochs[epoch])):
            for way, seconds in zip(ways, found, strict=True):
                seconds[f"epoch {epoch + 1}"] += way.step(epoch, number)
    for way, seconds in zip(ways, found, strict=True):
        seconds["score"] = way.score()
    return found


def measure(configs: list[RunConfig], workspace: Workspace) -> dict[str, JsonValue]:
    """Learn two seeds with one cache."""
    seeds = []
    for config in configs:
        kept, computed = Learning(config, workspace, True), Learning(config, workspace, False)
        seeds.append(learn(kept, computed))
    (first_kept, first_computed), (second_kept, second_computed) = seeds
    of_kept = {
        "first epoch": first_kept["prepare"] + first_kept["epoch 1"],
        "second epoch": first_kept["epoch 2"],
        "second seed": sum(second_kept.values()),
    }
    of_computed = {
        "first epoch": first_computed["epoch 1"],
        "second epoch": first_computed["epoch 2"],
        "second seed": sum(second_computed.values()),
    }
    operations = computed.operations() / kept.operations()
    return {
        "texts": len(kept.stage.train),
        "blocks": kept.parts.model.blocks,
        "kept_seconds": {name: round(value, 2) for name, value in of_kept.items()},
        "computed_seconds": {name: round(value, 2) for name, value in of_computed.items()},
        "speedup": {name: round(of_computed[name] / of_kept[name], 2) for name in of_kept},
        "fewer_operations": round(operations, 2),
    }


def twelve_blocks(folder: Path) -> Path:
    """Write a network of MiniLM's widths and twice its blocks, with random weights: speed does not depend on them."""
    minilm = find_backbone(BackboneConfig(id=MINILM))
    settings = AutoConfig.from_pretrained(minilm, local_files_only=True)
    settings.num_hidden_layers = 12
    torch.manual_seed(0)
    with no_progress_bar():
        AutoModel.from_config(settings).save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm, local_files_only=True).save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-class", type=int, default=60, help="training texts of each of the six classes")
    options = parser.parse_args()
    path = find_config("quickstart/topics-sequential")
    keys = [f"stream.train_per_class={options.per_class}", "training.precision=fp32", "lora.layers=last 3"]
    workspace = Workspace()
    workspace.stream(load_config(path, keys).stream)  # from the user's cache; the states go to another
    rows: list[JsonValue] = []
    with tempfile.TemporaryDirectory() as place:
        os.environ["PLORA_CACHE"] = place
        for backbone in (MINILM, str(twelve_blocks(Path(place) / "twelve"))):
            configs = [load_config(path, [*keys, f"backbone.id={backbone}", f"seed={seed}"]) for seed in range(2)]
            rows.append(measure(configs, workspace))
    evidence.write("prefix", {"rows": rows})


if __name__ == "__main__":
    main()
