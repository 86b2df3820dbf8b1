"""How pictures look: colours, an empty figure, labels that do not collide, and SVG or PNG out of it.

Only matplotlib's objects are used (no pyplot), so drawing leaves no global state and works in threads without
a display. Colours are those of Okabe & Ito (2008), which stay apart for colour-blind readers, minus yellow
and the pale ones that vanish on paper. In an SVG each of them is a CSS variable with the printed colour as
fallback: a page with a dark theme sets the variables, a file opened alone looks as printed.
"""

import io
import re
import warnings
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from plora.results.tables.one_line import elide
from plora.shown import visible_lines

INK, MUTED, GRID, PAPER = "#1f2328", "#5f6875", "#d3d8df", "#fffffe"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#b8578f", "#8a6d00", "#3f8fc4", "#6b4c9a", "#7f7f7e")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
CSS_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)},
}
"""The variable that stands for each colour in an SVG."""

FONT_POINTS = 9.0


def new_figure(width: float, height: float, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of `width` × `height` inches and its `rows` axes, one below the other, sharing x."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0].tolist()
    for ax in axes:
        ax.set_facecolor("none")
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            ax.spines[side].set_color(MUTED)
        ax.tick_params(colors=MUTED, labelsize=FONT_POINTS, length=3)
    return figure, axes


def title(ax: Axes, text: str, pad: float = 10) -> None:
    """Write what the picture shows, left-aligned, `pad` points above it."""
    ax.set_title(text, loc="left", fontsize=FONT_POINTS + 1, color=INK, pad=pad)


def subtitle(ax: Axes, text: str) -> None:
    """Write how to read the picture in one small line under its title, which needs `pad=22`."""
    ax.annotate(
        text,
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(0, 8),
        textcoords="offset points",
        fontsize=FONT_POINTS - 1,
        color=MUTED,
        annotation_clip=False,
    )


def point_labels(
    ax: Axes, points: Sequence[tuple[float, float]], texts: Sequence[str], whiskers: Sequence[float] = ()
) -> None:
    """Write a name beside each point, on the side where it hides the fewest other points and names.

    Args:
        ax: axes whose limits and scales are final.
        points: in data coordinates.
        texts: one per point.
        whiskers: of each point, how far its vertical line reaches up and down.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None, "axes always belong to a figure"
    width, height = 72 * 0.8 * figure.get_figwidth(), 72 * 0.75 * figure.get_figheight()
    places = ax.transAxes.inverted().transform(ax.transData.transform(points)) * (width, height)  # in points
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    low, high = ax.get_ylim()
    for (x, y), reach in zip(places, whiskers, strict=False):
        long = reach / (high - low) * height
        taken.append((x - 2, y - long, x + 2, y + long))
    for (x, y), point, text in zip(places, points, texts, strict=True):
        text = elide(text, 28)
        long, tall = 0.55 * FONT_POINTS * len(text), FONT_POINTS + 2
        choices = []
        for order, (across, along, dx, dy) in enumerate(_SIDES):
            left = x + dx - {"left": 0, "center": long / 2, "right": long}[across]
            bottom = y + dy - {"bottom": 0, "center": tall / 2, "top": tall}[along]
            box = (left, bottom, left + long, bottom + tall)
            hidden = sum(_shared_area(box, other) for other in taken)
            outside = long * tall - _shared_area(box, (0, -10, width + 30, height + 10))
            choices.append((hidden + outside, order, box))
        _, order, box = min(choices)
        taken.append(box)
        across, along, dx, dy = _SIDES[order]
        ax.annotate(
            text,
            xy=point,
            xytext=(dx, dy),
            textcoords="offset points",
            ha=across,
            va=along,
            fontsize=FONT_POINTS,
            color=INK,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.8},
            zorder=1.5,  # above the grid, below the points
            annotation_clip=False,
        )


_SIDES = (
    ("left", "center", 7, 0),
    ("right", "center", -7, 0),
    ("center", "bottom", 0, 7),
    ("center", "top", 0, -7),
    ("left", "bottom", 5, 5),
    ("left", "top", 5, -5),
    ("right", "bottom", -5, 5),
    ("right", "top", -5, -5),
)
"""Where a name can stand beside its point: alignments, and offsets in points; the first is the best."""
_Box = tuple[float, float, float, float]


def _shared_area(one: _Box, other: _Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


def end_labels(ax: Axes, x: float, ends: Sequence[float], texts: Sequence[str], colours: Sequence[str]) -> None:
    """Write the name of each line beside its end, moved apart where they would overlap.

    Args:
        ax: axes whose y limits and size are final.
        x: where the lines end, in data coordinates.
        ends: the y of each end.
        texts, colours: of each line.
    """
    low, high = ax.get_ylim()
    figure = ax.get_figure(root=True)
    assert figure is not None, "axes always belong to a figure"
    # A text of 9 points needs about 11; the axes take about 3/4 of the figure's height.
    gap = (high - low) * (FONT_POINTS + 2) / 72 / (0.75 * figure.get_figheight())
    for y, place, text, colour in zip(ends, spread(ends, gap, low, high), texts, colours, strict=True):
        ax.annotate(
            elide(text, 24),
            xy=(x, place),
            xytext=(16, 0),
            textcoords="offset points",
            fontsize=FONT_POINTS,
            color=INK,
            va="center",
            annotation_clip=False,
        )
        ax.annotate(
            "",
            xy=(x, y),
            xytext=(14, place),
            textcoords=("offset points", "data"),
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 5},
            annotation_clip=False,
        )


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions at least `gap` apart, in the order of `values`, as near to them as can be.

    Least squares under p[i+1] − p[i] ≥ gap is isotonic regression of values[i] − i·gap, solved by pooling
    adjacent violators; a block that leaves [low, high] is then moved back, and where they cannot fit they are
    spaced evenly.
    """
    order = np.argsort(values, kind="stable")
    if len(order) > 1:
        gap = min(gap, (high - low) / (len(order) - 1))
    blocks: list[list[float]] = []  # [mean, count]
    for rank, index in enumerate(order):
        blocks.append([values[index] - rank * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, count = blocks.pop()
            above = blocks[-1]
            above[0] = (above[0] * above[1] + mean * count) / (above[1] + count)
            above[1] += count
    shifted = [mean for mean, count in blocks for _ in range(int(count))]
    top = high - (len(order) - 1) * gap
    places = [0.0] * len(order)
    for rank, index in enumerate(order):
        places[index] = min(max(shifted[rank], low), top) + rank * gap
    return places


def to_svg(figure: Figure, salt: str = "plora") -> str:
    """Return the figure as an `<svg>` element that can stand in a page: no prolog, no page colour, CSS
    variables.

    Args:
        figure: any figure of this room.
        salt: makes the ids of its elements unique; two pictures on one page need different ones.
    """
    svg = _render(figure, "svg", salt=salt, transparent=True, dpi=200).decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # A style element holds for the whole page, and a strict page refuses it; inherited it comes to the same.
    svg = re.sub(r'<style type="text/css">\*\{([^}]*)\}</style>\s*', "", svg)
    svg = svg.replace("<svg", '<svg style="stroke-linejoin: round; stroke-linecap: butt"', 1)
    # figure_1, axes_1 …: alike in every picture, and nothing refers to them.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    # A hundredth of a point is far below what can be seen, and a third of the file.
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)
    svg = re.sub(r"font-family: [^;]*;", "font-family: var(--font, sans-serif);", svg)
    svg = re.sub(r"\n\s+", "\n", svg)
    for colour, variable in CSS_VARIABLES.items():
        svg = svg.replace(f": {colour}", f": var({variable}, {colour})")
    return svg


def to_png(figure: Figure, dpi: int = 160) -> bytes:
    """Return the figure as a PNG on white."""
    return _render(figure, "png", salt="plora", transparent=False, dpi=dpi)


def to_pdf(figure: Figure) -> bytes:
    """Return the figure as a PDF of one page, fonts embedded; the same bytes each time."""
    return _render(figure, "pdf", salt="plora", transparent=False, dpi=300)


def _render(figure: Figure, file_format: str, *, salt: str, transparent: bool, dpi: int = 100) -> bytes:
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)  # a task may be called "$5 or less"
            text.set_text(visible_lines(text.get_text()))
    buffer = io.BytesIO()
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "pdf.fonttype": 42}),
        warnings.catch_warnings(),
    ):
        # Names in any script are right in an SVG (the browser has the fonts); a PNG shows a box for them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(
            buffer,
            format=file_format,
            dpi=dpi,
            transparent=transparent,
            metadata={"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(file_format),
        )
    return buffer.getvalue()
