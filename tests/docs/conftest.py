"""The scripts of the documents lie beside the project: found by path."""

import importlib

import pytest


@pytest.fixture
def codes(project_path, monkeypatch):
    """The module that writes the index of codes."""
    monkeypatch.syspath_prepend(str(project_path / "scripts"))
    return importlib.import_module("codes")
