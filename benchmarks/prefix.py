"""The second epoch and the second seed with the states of frozen blocks kept on disk, against computing every block."""

import argparse
import os
import tempfile
import time
from dataclasses import replace

from benchmarks import evidence
from plora.build import Parts, Workspace, build
from plora.config import RunConfig, load_config
from plora.configs import find_config
from plora.strategies import Lesson, Progress
from plora.training.loop import _backward, begin_lesson, open_stage
from plora.training.optim import make_optimizer
from plora.training.plan import plan_epoch

EPOCHS = 2


class Learning:
    """The first task of one seed, learned step by step; with or without kept states."""

    def __init__(self, config: RunConfig, workspace: Workspace, kept: bool) -> None:
        parts = build(config, workspace)
        if not kept:
            bare = replace(parts.learner.extractor, prefix=None)
            parts = replace(parts, learner=replace(parts.learner, extractor=bare))
        self.parts: Parts = parts
        self.stage = parts.stages[0]
        open_stage(parts, self.stage, 0, [])
        self.lesson: Lesson = begin_lesson(parts, self.stage, 0, [])
        settings = config.training
        self.optimizer = make_optimizer(parts.model.trainable(), settings.learning_rate, settings.weight_decay)
        lengths = self.stage.train.inputs.lengths
        self.plan = [plan_epoch(lengths, settings.batch_size, config.seed, 0, 0, epoch) for epoch in range(EPOCHS)]

    def prepare(self) -> float:
        """Seconds until the states are at hand."""
        started = time.perf_counter()
        self.parts.learner.extractor.prepare(self.stage.train.inputs)
        return time.perf_counter() - started

    def step(self, epoch: int, number: int) -> float:
        """Seconds of one optimizer step."""
        started = time.perf_counter()
        indices = self.plan[epoch][number]
        self.parts.model.train()
        _backward(self.parts, self.stage, indices, len(indices), self.lesson, Progress(0, number, 1, epoch))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - started

    def score(self) -> float:
        """Seconds until the test split has features; its states, where kept, are on disk already."""
        split = self.stage.tasks[0].splits["test"]
        started = time.perf_counter()
        self.parts.learner.extractor.features(split, self.lesson.task)
        return time.perf_counter() - started


def learn(config: RunConfig, workspace: Workspace) -> dict[str, dict[str, float]]:
    """Seconds of each part, with and without kept states, step by step in turns."""
    ways = {"kept": Learning(config, workspace, True), "computed": Learning(config, workspace, False)}
    seconds = {name: {"prepare": way.prepare()} for name, way in ways.items()}
    for name, way in ways.items():  # warm up; the first scores also write the states of the test split
        way.step(0, 0)
        seconds[name]["first_score"] = way.score()
    for epoch in range(EPOCHS):
        for number in range(len(ways["kept"].plan[epoch])):
            for name, way in ways.items():
                seconds[name][f"epoch_{epoch}"] = seconds[name].get(f"epoch_{epoch}", 0.0) + way.step(epoch, number)
    for name, way in ways.items():
        seconds[name]["score"] = way.score()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-class", type=int, default=60, help="training texts of each of the six classes")
    options = parser.parse_args()
    overrides = [f"stream.train_per_class={options.per_class}", "training.precision=fp32", "lora.layers=last 3"]
    workspace = Workspace()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PLORA_CACHE"] = folder
        configs = [load_config(find_config("quickstart/topics-sequential"), [*overrides, f"seed={s}"]) for s in (0, 1)]
        first, second = (learn(config, workspace) for config in configs)
    print(first, second)
    for a in ("epoch_0", "epoch_1", "score"):
        print(a, first["computed"][a] / first["kept"][a], second["computed"][a] / second["kept"][a])


if __name__ == "__main__":
    main()
