"""Execute the notebook of the examples and keep what it printed and drew: `python -m benchmarks.notebook`.

Needs `pip install nbclient ipykernel`, which nothing else does.
"""

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "examples" / "gates.ipynb"


def main() -> None:
    os.environ["PYTHONWARNINGS"] = "ignore"  # of notebooks without widgets, not of plora
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as place:
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": place}}).execute()
    for cell in notebook.cells:
        cell.metadata.clear()  # times of execution are of no use to a reader
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
