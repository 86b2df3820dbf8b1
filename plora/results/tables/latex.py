"""A table, and plain text, as LaTeX for papers."""

import re
import unicodedata

from plora.results.tables.table import Table

_PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
\thispagestyle{empty}
"""


def latex(table: Table, standalone: bool) -> str:
    """Return a table environment; it needs `\\usepackage{booktabs}`, and nothing else of the document around it."""
    marks = _marks(table)
    lines = [" & ".join(map(latex_text, table.heads)) + r" \\", r"\midrule"]
    for i, row in enumerate(table.rows):
        cells = [latex_text(row[0]), *(_latex_number(cell) for cell in row[1:])]
        lines.append(" & ".join(marks.get((i, j), "{}").replace("{}", cell) for j, cell in enumerate(cells)) + r" \\")
    columns = "l" + "r" * (len(table.heads) - 1)
    tabular = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"]
    if standalone:  # as wide as it is, or as the page
        fit = r"\resizebox{\ifdim\width>\linewidth \linewidth\else \width\fi}{!}{%"
        tabular = [fit, *tabular[:-1], tabular[-1] + "}"]
    below = [*table.notes, *(["; ".join(table.legend)] if table.legend else [])]
    notes = [rf"\par\smallskip {{\footnotesize {latex_text(note)}\par}}" for note in below]
    caption = rf"\caption{{{latex_text(table.caption)}}}"
    body = [r"\begin{table}[htbp]", r"\centering", caption, r"\smallskip", *tabular, *notes, r"\end{table}"]
    text = "\n".join(body) + "\n"
    return _PREAMBLE + text + "\\end{document}\n" if standalone else "% needs \\usepackage{booktabs}\n" + text


def _marks(table: Table) -> dict[tuple[int, int], str]:
    """Return the LaTeX around the best and the second cells of each column in which two rows differ."""
    marks = {}
    for column, best in (table.best or {}).items():
        printed = {}
        for i, row in enumerate(table.rows):
            try:
                printed[i] = float(row[column].partition(" ")[0].replace(",", ""))
            except ValueError:
                continue  # "n/a"
        ranks = sorted(set(printed.values()), reverse=best == "highest")
        if len(ranks) < 2:
            continue
        for i, value in printed.items():
            if value in ranks[:2]:
                marks[i, column] = r"\textbf{{}}" if value == ranks[0] else r"\underline{{}}"
    return marks


_ESCAPES = {
    **{character: "\\" + character for character in "&%_#${}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "{''}",
    "'": "{'}",  # two of them are not one quotation mark
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after a line's \\ an optional argument
    "]": "{]}",
    "*": "{*}",  # \\* is another command
    "†": r"\dag{}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\to$",
    "‘": "{`}",
    "’": "{'}",
    "“": "{``}",
    "”": "{''}",
}


def latex_text(text: str) -> str:
    """Return plain text as LaTeX that prints it: escaped, on one line, and never a command.

    Western European letters are kept. pdflatex has no letters for most others (Greek, Cyrillic, Chinese), so they stand
    as their code points, `U+4E2D`: names stay apart and the document compiles.
    """
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    text = "".join(_latex_character(character) for character in text)
    return re.sub(r"([-,])(?=\1)", r"\1{}", text)  # two hyphens are not a dash, two commas no quotation mark


def _latex_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if " " <= character <= "~" or "À" <= character <= "ÿ":
        return character
    return rf"\texttt{{U+{ord(character):04X}}}"


def _latex_number(cell: str) -> str:
    return re.sub(r"^-(?=\d)", "$-$", latex_text(cell))
