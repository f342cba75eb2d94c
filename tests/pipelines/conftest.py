"""Kedro sessions of this project whose files go to a temporary folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project


@pytest.fixture(scope="session")
def session_factory(project_path) -> Callable[..., KedroSession]:
    """Opens a session: `env` and `runtime_params` as `kedro run` takes them."""
    bootstrap_project(project_path)

    def make(env: str | None = None, runtime_params: dict | None = None) -> KedroSession:
        pipelines.configure("eightgig.pipeline_registry")  # a run before may have left the one that it asked for
        return KedroSession.create(project_path=project_path, env=env, runtime_params=runtime_params)

    return make


@pytest.fixture
def open_session(session_factory, tmp_path, monkeypatch):
    """The same, with data and tracking below `tmp_path`."""
    keep_below(monkeypatch, tmp_path)
    return session_factory


def keep_below(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Send everything a run writes to `folder`."""
    monkeypatch.setenv("EIGHTGIG_DATA", str(folder / "data"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
