"""Scores computed one example at a time, in the order of their formulas."""

import math
from collections.abc import Sequence

Confusion = Sequence[Sequence[int]]


def accuracy(labels: Sequence[int], predictions: Sequence[int]) -> float:
    return sum(label == prediction for label, prediction in zip(labels, predictions, strict=True)) / len(labels)


def macro_f1(labels: Sequence[int], predictions: Sequence[int]) -> float:
    f1 = []
    for c in set(labels) | set(predictions):
        pairs = list(zip(labels, predictions, strict=True))
        hits = sum(label == c and prediction == c for label, prediction in pairs)
        false = sum(label != c and prediction == c for label, prediction in pairs)
        missed = sum(label == c and prediction != c for label, prediction in pairs)
        f1.append(2 * hits / (2 * hits + false + missed))
    return sum(f1) / len(f1)


def nats_per_byte(nll: Sequence[float], lengths: Sequence[int]) -> float:
    return math.fsum(nll) / sum(lengths)


def perplexity(nll: Sequence[float], tokens: Sequence[int]) -> float:
    return math.exp(math.fsum(nll) / sum(tokens))


def mean_iou(confusions: Sequence[Confusion]) -> float:
    ious = []
    for c in range(len(confusions[0])):
        hits = sum(image[c][c] for image in confusions)
        true = sum(sum(image[c]) for image in confusions)
        predicted = sum(row[c] for image in confusions for row in image)
        if true + predicted:
            ious.append(hits / (true + predicted - hits))
    return sum(ious) / len(ious)


def pixel_accuracy(confusions: Sequence[Confusion]) -> float:
    right = sum(image[c][c] for image in confusions for c in range(len(image)))
    return right / sum(sum(map(sum, image)) for image in confusions)


def outlier_auroc(inlier: Sequence[Sequence[int]], outlier: Sequence[Sequence[int]]) -> float:
    """Every pixel of an outlier against every other one."""
    inside = [score for image in inlier for score, count in enumerate(image) for _ in range(count)]
    outside = [score for image in outlier for score, count in enumerate(image) for _ in range(count)]
    won = sum((one > other) + 0.5 * (one == other) for one in outside for other in inside)
    return won / (len(inside) * len(outside))
