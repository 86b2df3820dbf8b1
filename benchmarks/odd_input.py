"""The guide page "What plora does with odd input": a row for each `@pytest.mark.odd(input, outcome)` of the tests.

`python -m benchmarks.odd_input` writes `docs/guide/odd-input.md`; `--check` fails when the page is not what the tests
say now. The tests are read, not run: a row stands there because a test with its mark asserts it.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.render import table

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "guide" / "odd-input.md"
INTRODUCTION = """\
# What plora does with odd input

Files come from anywhere. What is right without doubt is read; what could mean two things is refused with one line that
names file, row and what to do; what is left out is counted. Of each file, folder or split of the hub the log says how
many rows were found, used and left out, and why (`event=rows`); `environment.json` keeps it under `stream.rows`, and
what the config did not ask to leave out stands as a note in the record and the report too.

Each row is what a test does; `make results` writes this page from them.
"""


def marks(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield input, outcome and name of the test of each mark of a file, in its order."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.odd":
                what, outcome = (ast.literal_eval(argument) for argument in mark.args)
                yield what, outcome, node.name


def page() -> str:
    """Return the page: a table for each file of tests, under the first line of its docstring."""
    parts = [INTRODUCTION]
    files = sorted((ROOT / "tests").rglob("test_odd_*.py"), key=lambda file: (file.parent.name == "tests", file.name))
    for file in files:
        title = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").splitlines()[0].rstrip(".")
        rows = [[_cell(what), _cell(outcome), f"`{test}`"] for what, outcome, test in marks(file)]
        if not rows:
            sys.exit(f"{file.relative_to(ROOT)} has no test with @pytest.mark.odd(input, outcome)")
        where = f"Tests: `{file.relative_to(ROOT).as_posix()}`."
        parts += [f"## {title}", "", where, "", table(["input", "what happens", "test"], rows, left=3), ""]
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    text = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit(f"{PAGE.relative_to(ROOT)} is not what the tests say; run: make results")
        return
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
