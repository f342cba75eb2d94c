"""What the configuration, the documents and the lock file say."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

PROJECT = Path(__file__).parents[2]
CATALOGS = sorted((PROJECT / "conf").rglob("catalog*.y*ml"))
FLOORS = {"torch": "2.10", "transformers": "5.5", "onnx": "1.21", "pillow": "12.3"}
_PICKLING = ("pickle", "joblib", "dill", "cloudpickle", "compress_pickle")
_MODELS = (".pt", ".pth", ".bin", ".onnx", ".safetensors", ".engine", ".pkl", ".pickle")


def pickling_entries(text: str) -> list[str]:
    """Return the entries of a catalog that would be pickled."""
    entries = yaml.safe_load(text) or {}
    named = {name: str(entry) for name, entry in entries.items() if isinstance(entry, dict)}
    return [name for name, entry in named.items() if any(word in entry.lower() for word in _PICKLING)]


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_dataset_is_a_pickle(path):
    assert pickling_entries(path.read_text("utf-8")) == []


def test_a_pickled_dataset_would_be_found():
    text = "a:\n  type: pickle.PickleDataset\nb:\n  type: pandas.CSVDataset\nc:\n  {type: x, backend: joblib}\n"
    assert pickling_entries(text) == ["a", "c"]


def test_runs_are_tracked_in_a_file_of_this_machine():
    said = {path: yaml.safe_load(path.read_text("utf-8")) for path in (PROJECT / "conf").rglob("tracking*.y*ml")}
    uris = [each["tracking_uri"] for each in said.values() if "tracking_uri" in each]
    assert "tracking_uri" in said[PROJECT / "conf" / "base" / "tracking.yml"]
    assert [uri for uri in uris if not uri.startswith("sqlite:///")] == []


def test_no_document_opens_mlflow_to_the_network():
    texts = [*PROJECT.glob("*.md"), PROJECT / "Makefile", *(PROJECT / "docs").rglob("*.md")]
    lines = [line for path in texts for line in path.read_text("utf-8").splitlines() if "mlflow" in line.lower()]
    assert lines
    assert [line for line in lines if re.search(r"0\.0\.0\.0|--host(?![ =]127\.0\.0\.1)|allowed-hosts", line)] == []


def test_mlflow_loads_no_pickles():
    """As it says itself, after this project has imported it; what takes a part of it asks for the whole first."""
    pattern = re.compile(r"^\s*(import mlflow|from mlflow)", re.MULTILINE)
    importing = [path for path in (PROJECT / "src").rglob("*.py") if pattern.search(path.read_text("utf-8"))]
    assert sorted(path.name for path in importing) == ["fluent.py", "server.py", "system_metrics.py"]
    for path in importing:
        text = path.read_text("utf-8")
        first = pattern.search(text)
        assert first is not None
        assert re.search(r"^\s+(return )?import_mlflow\(|^def import_mlflow", text[: first.start()], re.MULTILINE), path
    name = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
    script = (
        "from eightgig.tracking.server import import_mlflow; import_mlflow()\n"
        f"from mlflow.environment_variables import {name} as allowed; print(allowed.get())"
    )
    environment = {key: value for key, value in os.environ.items() if key != name}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def requirements() -> dict[str, Requirement]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["pipelines"]]
    return {one.name.lower(): one for one in map(Requirement, listed)}


def locked() -> dict[str, list[Version]]:
    """Return the locked versions; one package may have several, for different systems."""
    found: dict[str, list[Version]] = {}
    for line in (PROJECT / "requirements.lock").read_text("utf-8").splitlines():
        name, is_pinned, rest = line.partition("==")
        if is_pinned:
            found.setdefault(name.strip().lower(), []).append(Version(rest.split(";")[0].strip()))
    return found


@pytest.mark.parametrize(("name", "floor"), FLOORS.items())
def test_versions_with_known_holes_are_not_allowed(name, floor):
    """Neither by the project's requirements nor in its lock."""
    below = Version(floor)
    floors = [Version(part.version) for part in requirements()[name].specifier if part.operator in (">=", "==", "~=")]
    assert floors
    assert max(floors) >= below
    assert locked()[name]
    assert min(locked()[name]) >= below


def test_the_lock_holds_no_foreign_network_code():
    assert not {"ultralytics", "yolov5"} & set(locked())


def test_no_weights_are_shipped():
    shipped = [path for path in (PROJECT / "src").rglob("*") if path.suffix in _MODELS]
    assert shipped == []
