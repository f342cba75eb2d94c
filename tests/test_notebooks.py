"""A notebook's failing cell fails its test, whatever shows the traceback."""

import os

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from tests.notebooks import run_notebook

# Jupyter's own warnings are not ours to mend.
pytestmark = [pytest.mark.whole, pytest.mark.filterwarnings("default")]


@pytest.fixture
def run(project_path, tmp_path):
    """Run cells in a kernel that starts in the project's folder."""

    def start(*sources):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "made.ipynb")
        environment = {**os.environ, "EIGHTGIG_DATA": str(tmp_path / "data")}
        return run_notebook(tmp_path / "made.ipynb", folder=project_path, environment=environment)

    return start


def test_what_cells_write_is_given(run):
    assert run("print(6 * 7)", "'no ' + 'error'").split("\n") == ["42", "", "'no error'"]


@pytest.mark.parametrize("first", ["pass", "%load_ext kedro.ipython"])
def test_a_failing_cell_is_not_passed_over(run, first):
    with pytest.raises(CellExecutionError, match=r"KeyError\S*: 'val_accuracy'"):
        run(first, "{}['val_accuracy']", "print('never')")
