"""Which classes are taken for which: counted from predictions, and drawn."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from plora.errors import RunError
from plora.results.pictures.figure import FONT_POINTS, INK, MUTED, new_figure, title
from plora.results.pictures.heatmap import NAMES_UP_TO, heatmap, slant
from plora.results.record.class_rankings import ClassRankings
from plora.results.record.pixel_counts import PixelCounts
from plora.results.tables.folding import WHOLE_UP_TO
from plora.results.tables.one_line import shorten

WIDTH = 6.4


def confusion_counts(
    predictions: ClassRankings, task: str | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the classes in play and `[C, C]` counts: entry (i, j) are examples of class i that were predicted as j.

    Args:
        predictions: after one row of the matrix.
        task: count its examples only; by default those of all tasks, pooled.

    Returns:
        `[C]` global ids of the classes that occur as a label or a prediction, ascending, and the counts.

    Raises:
        RunError: there is no example of that task.
    """
    chosen = np.ones(len(predictions), dtype=bool) if task is None else predictions.task == task
    if not chosen.any():
        raise RunError(f"no test example of task '{task}' was predicted" if task else "there are no predictions")
    label, prediction = predictions.label[chosen], predictions.prediction[chosen]
    classes, places = np.unique(np.concatenate([label, prediction]).astype(np.int64), return_inverse=True)
    rows, columns = places[: len(label)], places[len(label) :]
    C = len(classes)
    return classes, np.bincount(rows * C + columns, minlength=C * C).reshape(C, C).astype(np.int64)


def confusion(predictions: ClassRankings, task: str | None = None) -> Figure:
    """Draw the confusion matrix of one task, or of all pooled: each row in percent of the examples of its class.

    The cells of right predictions are framed. A class that was predicted but has no example has a column and no row.
    Lines part the classes of different tasks where the tasks are pooled, up to WHOLE_UP_TO of them.

    Args:
        predictions: after one row of the matrix.
        task: whose examples; by default those of all tasks.

    Raises:
        RunError: there is no example of that task.
    """
    classes, counts = confusion_counts(predictions, task)
    edges = (_task_edges(predictions, classes[counts.sum(axis=1) > 0]), _task_edges(predictions, classes))
    names = [predictions.class_names[c] for c in classes]
    what = "all tasks" if task is None else task
    return confusion_of_counts(counts, names, what, edges=edges if task is None else ([], []))


def confusion_of_pixels(measured: PixelCounts, task: str | None = None) -> Figure:
    """Draw which pixels of one task, or of all pooled, were taken for which class, as `confusion` does.

    Args:
        measured: after one row of the matrix.
        task: whose images; by default those of all tasks.

    Raises:
        RunError: there is no pixel of that task.
    """
    counts = (measured if task is None else measured.of(task)).confusion()
    classes = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    if not len(classes):
        raise RunError(f"no pixel of task '{task}' was predicted" if task else "there are no predictions")
    names = [measured.class_names[c] for c in classes]
    what = "all tasks" if task is None else task
    return confusion_of_counts(counts[np.ix_(classes, classes)], names, what, "true class, pixels")


def confusion_of_counts(
    counts: NDArray[np.int64],
    class_names: Sequence[str],
    what: str,
    truth: str = "true class",
    edges: tuple[Sequence[int], Sequence[int]] = ((), ()),
) -> Figure:
    """Draw counts as `confusion` does.

    Args:
        counts: `[C, C]`, entry (i, j) are examples of class i that were predicted as j.
        class_names: of the C classes.
        what: the title says that these are.
        truth: name of the axis of true classes.
        edges: places of lines between rows and between columns.
    """
    C = len(counts)
    kept = counts.sum(axis=1) > 0
    shares = 100 * counts[kept] / counts[kept].sum(axis=1, keepdims=True)
    R = len(shares)
    width = float(np.clip(2.6 + 0.4 * C, 3.8, WIDTH))
    figure, (ax,) = new_figure(width, float(np.clip(1.7 + 0.32 * R, 2.4, 5.8)))
    many = C > NAMES_UP_TO
    names = [str(i + 1) if many else shorten(name, 16) for i, name in enumerate(class_names)]
    heatmap(
        ax, shares, [names[k] for k in np.flatnonzero(kept)], names, "Blues", (0, 100), lambda value: f"{value:.0f}"
    )
    slant(ax, names)
    if not many:
        for i, j in enumerate(np.flatnonzero(kept).tolist()):
            ax.add_patch(Rectangle((j, i), 1, 1, facecolor="none", edgecolor=INK, linewidth=0.7))
    for edge in edges[0]:
        ax.axhline(edge, color=MUTED, linewidth=0.7)
    for edge in edges[1]:
        ax.axvline(edge, color=MUTED, linewidth=0.7)
    unit = f" (number, of {C})" if many else ""
    ax.set_xlabel(f"predicted class{unit}", fontsize=FONT_POINTS, color=MUTED)
    ax.set_ylabel(f"{truth}{unit}", fontsize=FONT_POINTS, color=MUTED)
    title(ax, f"Confusion, {shorten(what, 30)} (% of each true class)")
    return figure


def _task_edges(predictions: ClassRankings, classes: NDArray[np.int64]) -> list[int]:
    """Places between classes whose examples come from different tasks; none where tasks share classes."""
    owner: dict[int, str] = {}
    pairs = set(zip(predictions.label.tolist(), predictions.task.tolist(), strict=True))
    for label, task in pairs:
        if owner.setdefault(label, task) != task:
            return []
    tasks = [owner.get(int(c)) for c in classes]
    edges = [i for i in range(1, len(tasks)) if tasks[i] != tasks[i - 1]]
    return edges if len(edges) < WHOLE_UP_TO else []
