"""A table in the format that was asked for."""

from typing import Literal

from plora.results.tables.latex import latex
from plora.results.tables.table import Table, csv_text, markdown_table
from plora.shown import markdown_cell

Format = Literal["markdown", "csv", "latex"]


def rendered(table: Table, format: Format, standalone: bool) -> str:
    """Return a table as text.

    Args:
        table: what stands in it.
        format: `markdown`, `csv` or `latex`.
        standalone: LaTeX as a whole document.
    """
    if format == "csv":
        return csv_text(table)
    if format == "latex":
        return latex(table, standalone)
    notes = "".join(markdown_cell(line) + "\n" for line in [*table.notes, *table.legend])
    return markdown_table(table.heads, table.rows) + ("\n" + notes if notes else "")
