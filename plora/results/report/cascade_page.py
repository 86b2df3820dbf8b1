"""The page of a cascade: one self-contained `report.html`, and its two main pictures as PNG beside it."""

from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from plora.atomic import write_bytes, write_text
from plora.results.pictures.cascade_plots import flow_of_cascade, saved_against_lost
from plora.results.pictures.confusion import confusion_of_counts
from plora.results.pictures.figure import to_png, to_svg
from plora.results.record.cascade_result import CascadeResult
from plora.results.report.html import content_hash
from plora.results.tables.cascade_table import table_of_nodes, table_of_savings, table_of_ways
from plora.shown import visible_lines

PAGE_FILE = "report.html"


def write_cascade_page(result: CascadeResult, folder: Path) -> None:
    """Write `report.html`, `flow.png` and `saved.png` into a folder, atomically each."""
    environment = Environment(
        autoescape=True,
        finalize=lambda value: visible_lines(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    room = files("plora.results.report")
    style = room.joinpath("report.css").read_text(encoding="utf-8")
    flow, saved = flow_of_cascade(result), saved_against_lost(result)
    drawn = [
        Markup(to_svg(confusion_of_counts(np.array(score.confusion), result.nodes[score.node], score.node), f"at-{at}"))
        for at, score in enumerate(result.scores)
    ]
    confusion = confusion_of_counts(np.array(result.confusion), result.leaves, "all leaves, pipeline")
    page = environment.from_string(room.joinpath("cascade.html.j2").read_text(encoding="utf-8")).render(
        result=result,
        flow=Markup(to_svg(flow, "flow")),
        saved=Markup(to_svg(saved, "saved")),
        confusion=Markup(to_svg(confusion, "confusion")),
        of_nodes=drawn,
        ways=table_of_ways(result),
        nodes=table_of_nodes(result),
        savings=table_of_savings(result),
        style=Markup(style),
        style_hash=Markup(content_hash(style)),
    )
    write_bytes(folder / "flow.png", to_png(flow))
    write_bytes(folder / "saved.png", to_png(saved))
    write_text(folder / PAGE_FILE, page)
