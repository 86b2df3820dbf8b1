"""How sure the model was of the texts that it was given for old ones."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from plora.errors import RunError
from plora.results.pictures.figure import FONT_POINTS, MUTED, PAPER, SERIES, new_figure, subtitle, title
from plora.results.record.generated import GeneratedText

BINS = 20


def generated_confidence(texts: Sequence[GeneratedText]) -> Figure:
    """Draw how many texts got which confidence: those rehearsed, and above them those dropped.

    Raises:
        RunError: there is no text.
    """
    if not texts:
        raise RunError("no text was generated in this run")
    edges = np.linspace(0, 100, BINS + 1).tolist()
    figure, (ax,) = new_figure(6.4, 2.4)
    groups = [[100 * text.confidence for text in texts if (text.rejected is None) == kept] for kept in (True, False)]
    names = [f"{name} ({len(group)})" for name, group in zip(("rehearsed", "dropped"), groups, strict=True)]
    ax.hist(groups, edges, stacked=True, color=[SERIES[0], SERIES[7]], edgecolor=PAPER, linewidth=0.8, label=names)
    ax.set_xlim(0, 100)
    ax.set_xlabel("confidence (%)", fontsize=FONT_POINTS, color=MUTED)
    ax.set_ylabel("texts", fontsize=FONT_POINTS, color=MUTED)
    ax.legend(loc="upper left", frameon=False, fontsize=FONT_POINTS, labelcolor=MUTED)
    title(ax, "Texts that stand in for old ones", pad=22)
    what = "the class of a text" if any(text.answer for text in texts) else "a token of a text, the geometric mean,"
    subtitle(ax, f"by the probability that the model gave {what} before the new task, all tasks together")
    return figure
