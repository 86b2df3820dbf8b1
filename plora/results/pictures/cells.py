"""The coloured cells of a matrix: shapes of a few, an image with a pixel for each of many."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.patches import Rectangle

from plora.results.pictures.figure import GRID
from plora.results.record.matrix import Matrix

HATCHED_UP_TO = 1600  # cells: of more, what is not measured is one hatched shape behind the others
SHAPES_UP_TO = 10_000  # cells: of more, drawn one by one they cost a second, and are smaller than a dot of the picture


def coloured_cells(
    ax: Axes, values: Matrix, top: float, colours: Colormap, scale: Normalize, rasterized: bool
) -> ScalarMappable:
    """Draw `values` `[rows, columns]` as cells of size 1 from `(0, top)` down, NaN left empty; return their colours.

    Args:
        ax: whose axes are those of the matrix.
        values: of the cells.
        top: y of the upper edge.
        colours, scale: what a value looks like.
        rasterized: cells that are shapes are an image inside the picture, of its own dots.
    """
    R, C = values.shape
    cells = np.ma.masked_invalid(values)
    if values.size > SHAPES_UP_TO:  # "none": the pixels are kept as they are, whatever the size of the picture
        return ax.imshow(
            cells,
            cmap=colours,
            norm=scale,
            extent=(0, C, top + R, top),
            aspect="auto",
            interpolation="none",
            zorder=1,  # as shapes: over the hatching
        )
    return ax.pcolormesh(
        np.arange(C + 1), np.arange(R + 1) + top, cells, cmap=colours, norm=scale, rasterized=rasterized
    )


def hatched_cells(ax: Axes, values: Matrix) -> None:
    """Hatch the NaN cells of `values`, before the others are drawn over them."""
    R, C = values.shape
    missing = (
        [(j, i, 1, 1) for i, j in np.argwhere(np.isnan(values))] if values.size <= HATCHED_UP_TO else [(0, 0, C, R)]
    )
    for x, y, wide, high in missing:
        ax.add_patch(Rectangle((x, y), wide, high, facecolor="none", edgecolor=GRID, hatch="////", lw=0))
