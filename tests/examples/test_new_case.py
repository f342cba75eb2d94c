"""A new case study of a known task: the lines of CONTRIBUTING.md and a copy of parameters, in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
MOST_LINES = 15

pytestmark = pytest.mark.whole


def lines_in_the_guide() -> str:
    """What CONTRIBUTING.md tells to write."""
    guide = (PROJECT / "CONTRIBUTING.md").read_text("utf-8")
    (code,) = re.findall(r"pet_classifier/__init__\.py`:\n +```python\n(.*?)```", guide, re.DOTALL)
    return re.sub(r"(?m)^ {3}", "", code)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    unwanted = shutil.ignore_patterns("__pycache__", "local", "*.egg-info")
    for name in ("src", "conf"):
        shutil.copytree(PROJECT / name, root / name, ignore=unwanted)
    shutil.copy(PROJECT / "pyproject.toml", root)
    folder = root / "src" / "eightgig" / "pipelines" / "pet_classifier"
    folder.mkdir()
    (folder / "__init__.py").write_text(lines_in_the_guide(), encoding="utf-8")
    for environment in ("base", "ci"):
        parameters = root / "conf" / environment / "parameters_flower_classifier.yml"
        text = re.sub(r"(?m)^flower_classifier:", "pet_classifier:", parameters.read_text("utf-8"))
        parameters.with_name("parameters_pet_classifier.yml").write_text(text, encoding="utf-8")
    return root


def test_it_is_a_few_lines():
    assert len(lines_in_the_guide().splitlines()) <= MOST_LINES


def test_it_runs_from_photos_to_trained_weights(copy):
    environment = os.environ | {"PYTHONPATH": str(copy / "src"), "EIGHTGIG_DATA": str(copy / "data")}
    command = [sys.executable, "-m", "kedro", "run", "--env", "ci", "--pipeline", "pet_classifier"]
    done = subprocess.run(
        [*command, "--tags", "ingest,plan,train"],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (copy / "data/06_models/pet_classifier/weights.safetensors").is_file()
    assert (copy / "data/05_model_input/pet_classifier/memory_plan.json").is_file()
