"""Runs a notebook as a user does, cell after cell."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient


def run_notebook(path: Path, *, folder: Path, environment: dict[str, str]) -> str:
    """Return all that a notebook's cells wrote as text, one below the other.

    Whether a cell failed is what the kernel replies, which is what nbclient goes by. The cells' outputs do not tell:
    kedro.ipython shows a traceback in its own way, and leaves no output of the kind `error`.

    Args:
        path: of the notebook; it is not changed.
        folder: in which the kernel starts.
        environment: of the kernel.

    Raises:
        CellExecutionError: of the first cell that fails, with its traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return "\n".join(_text_of(output) for cell in cells for output in cell.outputs)


def _text_of(output: nbformat.NotebookNode) -> str:
    return str(output.get("text") or output.get("data", {}).get("text/plain", ""))
