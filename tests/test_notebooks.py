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


def test_planning_a_network_of_ones_own_needs_no_data(project_path):
    notebook = project_path / "notebooks" / "plan_your_network.ipynb"
    written = run_notebook(notebook, folder=project_path / "notebooks", environment=dict(os.environ))
    assert "batch   8:" in written
    assert "8 GiB of the RTX 3070: micro-batch" in written
    assert "does not fit 0.6 GiB" in written  # said, with the way out
