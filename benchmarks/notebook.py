"""Execute the notebooks of the examples and keep what they printed and drew: `python -m benchmarks.notebook`.

With names, such as `gates`, those alone. Needs `pip install nbclient ipykernel`, which nothing else does.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"


def main() -> None:
    os.environ["PYTHONWARNINGS"] = "ignore"  # of notebooks without widgets, not of plora
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            execute(path)


def execute(path: Path) -> None:
    """Run every cell in a folder of its own, and keep what it showed."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as place:
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": place}}).execute()
    for cell in notebook.cells:
        cell.metadata.clear()  # times of execution are of no use to a reader
    nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
