"""Exact Fisher information of a slot and its head rows: plora's pass against a loop over examples and classes."""

import argparse
import time

import numpy as np
import torch
from torch import Tensor

from benchmarks import evidence
from plora.build import build
from plora.config import load_config
from plora.configs import find_config
from plora.model import ContinualModel
from plora.strategies import Lesson
from plora.strategies.fisher import fisher
from plora.training.loop import begin_lesson, open_stage


def loop(model: ContinualModel, lesson: Lesson) -> dict[str, Tensor]:
    """1/N Σ_x Σ_c p(c | x) ∇ log p(c | x)², one forward pass per example, one backward pass per class."""
    trained = model.trainable()
    total = {name: torch.zeros_like(parameter) for name, parameter in trained.items()}
    for example in range(len(lesson.train)):
        log_p = model(lesson.train.inputs.collate(np.array([example])), lesson.task)[0].log_softmax(0)
        for row, weight in enumerate(log_p.detach().exp()):
            gradients = torch.autograd.grad(log_p[row], [*trained.values()], retain_graph=row + 1 < len(log_p))
            for name, gradient in zip(trained, gradients, strict=True):
                total[name] += weight * gradient.square()
    return {name: value / len(lesson.train) for name, value in total.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-class", type=int, default=16, help="training texts of each of the six classes")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    overrides = [f"stream.train_per_class={options.per_class}", "training.precision=fp32"]
    parts = build(load_config(find_config("quickstart/topics-sequential"), overrides))
    open_stage(parts, parts.stages[0], 0, [])
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in parts.model.trainable().values():
            parameter.add_(0.02 * torch.randn_like(parameter))  # as if something had been learned
    lesson = begin_lesson(parts, parts.stages[0], 0, [])
    model = parts.model.eval()
    fisher(model, lesson)  # warm up
    seconds: dict[str, list[float]] = {"plora": [], "loop": []}
    for _ in range(options.rounds):  # in turns, so that what disturbs the machine disturbs both
        started = time.perf_counter()
        fast = fisher(model, lesson)
        between = time.perf_counter()
        slow = loop(model, lesson)
        seconds["plora"].append(between - started)
        seconds["loop"].append(time.perf_counter() - between)
    fastest = {name: min(values) for name, values in seconds.items()}
    evidence.write(
        "fisher",
        {
            "texts": len(lesson.train),
            "classes": model.head.rows,
            "parameters": sum(parameter.numel() for parameter in model.trainable().values()),
            "plora_seconds": round(fastest["plora"], 2),
            "loop_seconds": round(fastest["loop"], 2),
            "speedup": round(fastest["loop"] / fastest["plora"], 2),
            "largest_difference": float(
                max((fast[name] - slow[name]).abs().max() / slow[name].max() for name in slow if slow[name].any())
            ),
        },
    )


if __name__ == "__main__":
    main()
