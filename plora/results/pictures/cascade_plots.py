"""Pictures of a cascade: the tree with what flows where, and what is saved against what is lost."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve

from plora.results.pictures.figure import FONT_POINTS, INK, MUTED, SERIES, new_figure, subtitle, title
from plora.results.record.cascade_result import CascadeResult
from plora.results.tables.one_line import shorten

_RIGHT, _WRONG = SERIES[0], SERIES[1]
_THICKEST = 0.82
"""Of a stream into one leaf, in rows."""
_BAR = 0.03
"""Half the width of a node, in levels."""
_CURVES = {
    "thresholds": ("one threshold for all nodes", SERIES[0], "o"),
    "likeliest": ("the k likeliest leaves", SERIES[2], "s"),
    "flat": ("the k likeliest, flat classifier", SERIES[7], "^"),
}


def flow_of_cascade(result: CascadeResult) -> Figure:
    """Draw the tree of a cascade from left to right, each branch as thick as the number of test examples sent there.

    The lower part of a branch are those that belong there, the upper those that do not. Beside a node stands the share
    of its own examples whose answer there is right, beside a leaf the share of its own that end in it.
    """
    tree = result.tree
    rows = {leaf: float(row) for row, leaf in enumerate(tree.leaves)}
    places = {name: float(np.mean([rows[leaf] for leaf in tree.below(name)])) for name in (*tree.names, *tree.leaves)}
    level = {name: len(tree.path(tree.below(name)[0])[: tree.path(tree.below(name)[0]).index(name)]) for name in places}
    flows = {(flow.node, flow.answer): flow for flow in result.flows}
    most = max((flow.right + flow.wrong for flow in result.flows if flow.answer in rows), default=1) or 1
    scale = min(_THICKEST / most, 0.7 * len(rows) / result.examples)
    figure, (ax,) = new_figure(8.2, float(np.clip(1.4 + 0.3 * len(rows), 2.6, 14)))
    for node in tree.names:
        answers = sorted(tree.nodes[node], key=places.__getitem__)
        sent = [flows[node, answer] for answer in answers]
        top = places[node] - scale * sum(flow.right + flow.wrong for flow in sent) / 2
        for answer, flow in zip(answers, sent, strict=True):
            below = places[answer] - scale * (flow.right + flow.wrong) / 2
            for number, colour in ((flow.wrong, _WRONG), (flow.right, _RIGHT)):
                _branch(ax, (level[node] + _BAR, top), (level[answer] - _BAR, below), scale * number, colour)
                top, below = top + scale * number, below + scale * number
    confusion = np.array(result.confusion)
    support = confusion.sum(axis=1)
    for name, place in places.items():
        x = level[name]
        if name in rows:
            own = int(support[tree.leaves.index(name)])
            right = confusion[tree.leaves.index(name), tree.leaves.index(name)]
            said = f"{shorten(name, 26)}  {right / own:.0%}" if own else f"{shorten(name, 26)}  no example"
            ax.annotate(
                said, (x + 0.02, place), va="center", fontsize=FONT_POINTS - 1, color=INK, annotation_clip=False
            )
            continue
        score = result.score_of(name)
        half = max(scale * score.arrived / 2, 0.1)
        ax.add_patch(_bar(x, place, half))
        collapsed = f"\ncollapsed: {shorten(score.collapsed, 18)}" if score.collapsed else ""
        ax.annotate(
            f"{shorten(name, 22)}  {score.accuracy:.0%}{collapsed}",
            (x, place - half),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=FONT_POINTS,
            color=INK,
            annotation_clip=False,
            bbox={"facecolor": "#fffffe", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
        )
    ax.set(xlim=(-0.1, max(level.values()) + 0.75), ylim=(len(rows) - 0.3, -1.2))
    ax.axis("off")
    title(ax, f"Where {result.examples:,} test examples go", pad=22)
    subtitle(
        ax,
        "blue: belongs there, orange: does not; % right: of a node's own examples there, of a leaf's own at the end",
    )
    return figure


def saved_against_lost(result: CascadeResult) -> Figure:
    """Draw, for thresholds and for the k likeliest leaves, the searches saved against what that costs.

    Crosses are the thresholds that validation chose for a loss that it allowed, with the 95 % interval of the loss.
    """
    figure, (ax,) = new_figure(6.4, 4.0)
    for name, points in result.curves.items():
        label, colour, marker = _CURVES[name]
        ax.plot(
            [100 * point.saved for point in points],
            [100 * point.lost for point in points],
            color=colour,
            marker=marker,
            markersize=3.5,
            linewidth=1.4,
            label=label,
        )
    ax.errorbar(
        [100 * point.saved for point in result.chosen],
        [100 * point.lost for point in result.chosen],
        [
            [100 * max(point.lost - point.low, 0) for point in result.chosen],
            [100 * max(point.high - point.lost, 0) for point in result.chosen],
        ],
        color=SERIES[1],
        fmt="x",
        markersize=7,
        linewidth=1,
        label="thresholds chosen on validation",
    )
    ax.set_xlabel("searches saved, %", fontsize=FONT_POINTS, color=MUTED)
    what = "cost lost, % of the least" if result.costed else "right leaf not tried, % of examples"
    ax.set_ylabel(what, fontsize=FONT_POINTS, color=MUTED)
    ax.set_ylim(bottom=-0.5)
    ax.legend(frameon=False, fontsize=FONT_POINTS - 1, loc="upper left")
    title(ax, f"Searches saved against what is lost ({len(result.leaves)} leaves)")
    return figure


def _branch(ax: Axes, start: tuple[float, float], end: tuple[float, float], width: float, colour: str) -> None:
    """A band of one width from the upper corner of its start to that of its end."""
    if width <= 0:
        return
    (x, y), (across, along) = start, end
    middle = (x + across) / 2
    points = [(x, y), (middle, y), (middle, along), (across, along), (across, along + width)]
    points += [(middle, along + width), (middle, y + width), (x, y + width), (x, y)]
    codes = [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4, Curve.LINETO]
    codes += [Curve.CURVE4, Curve.CURVE4, Curve.CURVE4, Curve.CLOSEPOLY]
    ax.add_patch(PathPatch(Curve(points, codes), facecolor=colour, edgecolor="none", alpha=0.55))


def _bar(x: float, y: float, half: float) -> PathPatch:
    corners = [(x - _BAR, y - half), (x + _BAR, y - half), (x + _BAR, y + half), (x - _BAR, y + half)]
    codes = [Curve.MOVETO, Curve.LINETO, Curve.LINETO, Curve.LINETO, Curve.CLOSEPOLY]
    return PathPatch(Curve([*corners, corners[0]], codes), facecolor=INK, edgecolor="none")
