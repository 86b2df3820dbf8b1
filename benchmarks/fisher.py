"""Exact Fisher information of a slot and its head rows: plora's pass against loops over examples.

On a GPU where there is one, and then the numbers stand beside those of the CPU.
"""

import argparse
import time

import numpy as np
import torch
from torch import Tensor

from benchmarks import evidence
from benchmarks.networks import settle
from plora.build import build
from plora.config import load_config
from plora.configs import find_config
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.strategies.fisher import fisher
from plora.training.course import plan_course
from plora.training.stage import begin_lesson, open_stage


def loop(model: ContinualModel, lesson: Lesson) -> dict[str, Tensor]:
    """1/N Σ_x Σ_c p(c | x) ∇ log p(c | x)², one forward pass per example, one backward pass per class."""
    trained = model.trainable()
    total = {name: torch.zeros_like(parameter) for name, parameter in trained.items()}
    for example in range(len(lesson.train)):
        log_p = model(_of(model, lesson, example), lesson.task)[0].log_softmax(0)
        for row, weight in enumerate(log_p.detach().exp()):
            gradients = torch.autograd.grad(log_p[row], [*trained.values()], retain_graph=row + 1 < len(log_p))
            for name, gradient in zip(trained, gradients, strict=True):
                total[name] += weight * gradient.square()
    return {name: value / len(lesson.train) for name, value in total.items()}


def loop_of_jacobians(model: ContinualModel, lesson: Lesson) -> dict[str, Tensor]:
    """The same with one backward pass for all classes of an example: autograd's best without our products."""
    trained = model.trainable()
    total = {name: torch.zeros_like(parameter) for name, parameter in trained.items()}
    for example in range(len(lesson.train)):
        log_p = model(_of(model, lesson, example), lesson.task)[0].log_softmax(0)
        unit = torch.eye(len(log_p), device=log_p.device)
        rows = torch.autograd.grad(log_p, [*trained.values()], unit, is_grads_batched=True)
        for name, gradients in zip(trained, rows, strict=True):
            total[name] += torch.einsum("c,c...->...", log_p.detach().exp(), gradients.square())
    return {name: value / len(lesson.train) for name, value in total.items()}


def _of(model: ContinualModel, lesson: Lesson, example: int) -> dict[str, Tensor]:
    return dict(lesson.train.collate(np.array([example])).to(model.device).inputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-class", type=int, default=16, help="training texts of each of the six classes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backbone", default="minilm", help="network, by name or folder")
    options = parser.parse_args()
    overrides = [f"stream.train_per_class={options.per_class}", "training.precision=fp32"]
    overrides += [f"backbone.id={options.backbone}"]
    parts = build(load_config(find_config("quickstart/topics-sequential"), overrides))
    plan = plan_course(parts)[0]
    open_stage(parts, plan)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in parts.model.trainable().values():
            parameter.add_(0.02 * torch.randn_like(parameter))  # as if something had been learned
    lesson = begin_lesson(parts, plan)
    model = parts.model.eval()
    contestants = {"plora": fisher, "loop": loop, "jacobians": loop_of_jacobians}
    found = {name: way(model, lesson) for name, way in contestants.items()}  # warms up, too
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.rounds):  # in turns, so that what disturbs the machine disturbs all
        for name, way in contestants.items():
            started = time.perf_counter()
            way(model, lesson)
            settle()
            seconds[name].append(time.perf_counter() - started)
    fastest = {name: min(values) for name, values in seconds.items()}
    fast, slow = found["plora"], found["loop"]
    evidence.write(
        "fisher",
        {
            "texts": len(lesson.train),
            "classes": model.head.rows,
            "parameters": sum(parameter.numel() for parameter in model.trainable().values()),
            **{f"{name}_seconds": round(value, 3) for name, value in fastest.items()},
            "speedup": {name: round(fastest[name] / fastest["plora"], 2) for name in ("loop", "jacobians")},
            "largest_difference": float(
                max((fast[name] - slow[name]).abs().max() / slow[name].max() for name in slow if slow[name].any())
            ),
        },
        "python -m benchmarks.fisher",
    )


if __name__ == "__main__":
    main()
