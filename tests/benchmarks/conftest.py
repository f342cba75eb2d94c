"""The benchmarks are scripts beside the project: their modules are found by path."""

import importlib
import sys
from types import SimpleNamespace

import pytest


@pytest.fixture
def benchmark(project_path, monkeypatch):
    """Return a benchmark's module by its name."""
    monkeypatch.syspath_prepend(str(project_path / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def bench(project_path, monkeypatch):
    """The modules of a day with a card, and a driver with rows of no consequence."""
    for folder in (project_path / "tests" / "benchmarks", project_path / "benchmarks"):
        monkeypatch.syspath_prepend(str(folder))
    names = (
        "day_card",
        "day_index",
        "day_rows",
        "day_schedule",
        "day_jobs",
        "day_tests",
        "gpu_cases",
        "gpu_training",
        "runners",
    )
    modules = {name: importlib.import_module(name) for name in (*names, "day_driver")}
    yield SimpleNamespace(**modules)
    sys.modules.pop("day_driver", None)
