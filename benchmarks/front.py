"""The table of the front page: each problem, the command that shows it offline, and what was measured of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from scipy.stats import t

from plora.results import SCORES

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Shown:
    """One row.

    Args:
        problem: in words.
        command: offline.
        comes_out: of the command.
        measured: name of a JSON file; its runs have `way` and `key`.
        on: the data of that file, in words.
        way: of a run: which method it is, or what trains.
        key: of a run: what methods are compared by.
        score: its name, which says unit and direction.
    """

    problem: str
    command: str
    comes_out: str
    measured: str
    on: str
    way: str = "method"
    key: str = "accuracy"
    score: str = "accuracy"


ROWS = (
    Shown(
        "a class for each text",
        "plora run quickstart/topics-o_lora",
        "30 subpackages of five libraries, one growing head",
        "text-five-texts",
        "five data sets, 38 classes, no task id",
    ),
    Shown(
        "a class for each image",
        "plora run image_classification/glyphs",
        "100 printed characters, ten at a time",
        "images-omniglot",
        "handwriting that the network never saw, 242 classes",
    ),
    Shown(
        "any number of labels",
        "plora run text_multi_label/docstrings",
        "label sets, a threshold for each label",
        "targets-labels",
        "docstrings of five libraries",
        score="macro_f1",
    ),
    Shown(
        "numbers",
        "plora run text_regression/docstrings",
        "errors in the unit of the data",
        "targets-numbers",
        "docstrings of five libraries",
        score="mean_absolute_error",
    ),
    Shown(
        "a tag for each word",
        "plora run token_classification/arguments",
        "entities, F1 as seqeval has it",
        "arguments",
        "docstrings of five libraries",
        key="mean",
        score="entity_f1",
    ),
    Shown(
        "documents, prompts and answers",
        "plora run causal_lm/domains",
        "nats per byte of each library; `plora generate`",
        "targets-domains",
        "docstrings of five libraries that the base never saw",
        score="nats_per_byte",
    ),
    Shown(
        "a class for each pixel",
        "plora run segmentation/scenes",
        "mean IoU; `plora predict` writes masks and overlays",
        "segmentation-scenes",
        "haze, dusk and night, rendered",
        way="arm",
        key="mean_iou",
        score="mean_iou",
    ),
    Shown(
        "a tree of classes",
        "plora run text_classification/topics_tree",
        "a slot for each question; `plora cascade evaluate`",
        "blocks-cascade",
        "codec blocks, from the root to the leaf",
    ),
)


def problems() -> str:
    """The rows, with the best floor and the best method of what is measured."""
    lines = ["| an input has | offline command | what comes out | measured on | best floor | best method |"]
    lines.append("|" + " --- |" * 6)
    for row in ROWS:
        path = RESULTS / f"{row.measured}.json"
        floor, method = best(json.loads(path.read_text(encoding="utf-8")), row) if path.exists() else ("", "")
        cells = [row.problem, f"`{row.command}`", row.comes_out, row.on if floor else "not measured yet", floor, method]
        lines.append("| " + " | ".join(cells) + " |")
    said = (
        "Means over seeds and orders, and their 95 % t intervals where there are three runs or more. `joint`, which "
        "sees all tasks at once, is no method here; a method that is told the task is not set against floors that are "
        "not."
    )
    return "\n".join([*lines, "", said])


def best(data: Mapping[str, object], row: Shown) -> tuple[str, str]:
    """Return the best floor and the best other method of a file, with their scores."""
    runs = data["runs"]
    assert isinstance(runs, list)
    told = min(str(run.get("scenario", "")) == "task" for run in runs)
    found: dict[str, list[float]] = {}
    for run in runs:
        if (str(run.get("scenario", "")) == "task") == told and run[row.key] is not None:
            found.setdefault(str(run[row.way]), []).append(float(run[row.key]))
    sign = SCORES[row.score].sign
    ranked = sorted(found, key=lambda method: -sign * fmean(found[method]))
    floors = [method for method in ranked if method.startswith("frozen")]
    others = [method for method in ranked if method not in floors and not method.startswith("joint")]
    if not floors and "before" in runs[0]:  # what writes has no head: its floor is the network as it comes
        floors, found["before training"] = ["before training"], [float(runs[0]["before"])]
    first = (_said(kind[0], found[kind[0]], row.score) if kind else "" for kind in (floors, others))
    return next(first), next(first)


def _said(method: str, values: Sequence[float], score: str) -> str:
    known = SCORES[score]
    shown = f"`{method}` {known.with_unit(fmean(values))}"
    if len(values) < 3:
        return shown
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    low, high = fmean(values) - half, fmean(values) + half
    return f"{shown} ({known.text(low)} to {known.text(high)})"
