"""The diagonal Fisher information as two loops: over examples and over classes, one gradient each."""

import numpy as np
import torch
from torch import Tensor

from plora.lesson import Lesson
from plora.model import ContinualModel


def gradient(model: ContinualModel, lesson: Lesson, example: int, row: int) -> dict[str, Tensor]:
    """∇_θ log p(row | example), of one example alone."""
    inputs = lesson.train.collate(np.array([example])).inputs
    visible = lesson.competing[int(lesson.train.rows[example])]
    scores = model(inputs, lesson.task)[0]
    log_p = scores[visible[: len(scores)]].log_softmax(0)
    place = int(visible[:row].sum())
    trained = model.trainable()
    found = torch.autograd.grad(log_p[place], [*trained.values()], allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(trained.items(), found, strict=True)}


def exact(model: ContinualModel, lesson: Lesson, examples: list[int]) -> dict[str, Tensor]:
    """1/N Σ_x Σ_c p(c | x) g_c(x)²."""
    model.eval()
    total = {name: torch.zeros_like(p) for name, p in model.trainable().items()}
    for example in examples:
        visible = lesson.competing[int(lesson.train.rows[example])]
        scores = model(lesson.train.collate(np.array([example])).inputs, lesson.task)[0].detach()
        rows = visible[: len(scores)].nonzero().flatten().tolist()
        p = scores[rows].softmax(0)
        for weight, row in zip(p, rows, strict=True):
            for name, g in gradient(model, lesson, example, row).items():
                total[name] += weight * g.square()
    return {name: value / len(examples) for name, value in total.items()}


def empirical(model: ContinualModel, lesson: Lesson, examples: list[int]) -> dict[str, Tensor]:
    """1/N Σ_x g_y(x)², y the true class."""
    model.eval()
    total = {name: torch.zeros_like(p) for name, p in model.trainable().items()}
    for example in examples:
        for name, g in gradient(model, lesson, example, int(lesson.train.rows[example])).items():
            total[name] += g.square()
    return {name: value / len(examples) for name, value in total.items()}


def exact_of_updates(model: ContinualModel, lesson: Lesson, examples: list[int]) -> dict[str, Tensor]:
    """`exact` of a dense ΔW beside each layer, which is 0 and has every entry as a parameter; by the layer's path."""
    assert model.adapters is not None
    dense = {
        layer.path: torch.zeros(layer.out_features, layer.in_features, requires_grad=True)
        for layer in model.adapters.layers
    }
    handles = [
        layer.register_forward_hook(lambda layer, inputs, output: output + inputs[0] @ dense[layer.path].T)
        for layer in model.adapters.layers
    ]
    model.eval()
    total = {path: torch.zeros_like(delta) for path, delta in dense.items()}
    for example in examples:
        visible = lesson.competing[int(lesson.train.rows[example])]
        scores = model(lesson.train.collate(np.array([example])).inputs, lesson.task)[0]
        log_p = scores[visible[: len(scores)]].log_softmax(0)
        for one in log_p:
            gradients = torch.autograd.grad(one, [*dense.values()], retain_graph=True)
            for path, g in zip(dense, gradients, strict=True):
                total[path] += one.exp().detach() * g.square()
    for handle in handles:
        handle.remove()
    return {path: value / len(examples) for path, value in total.items()}
