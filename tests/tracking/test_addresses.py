"""Where MLflow is."""

from pathlib import Path

import pytest

from eightgig.tracking.addresses import artifact_location, whole_uri, without_secrets


def test_a_database_gets_its_full_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert whole_uri("sqlite:///{project}/mlflow.db", Path("/project")) == "sqlite:////project/mlflow.db"
    assert whole_uri("sqlite:///mlflow.db", Path("/project")) == f"sqlite:///{tmp_path}/mlflow.db"
    assert whole_uri("http://host:5000", Path("/project")) == "http://host:5000"


def test_files_lie_beside_a_database_and_where_a_server_says():
    assert artifact_location("sqlite:////a b/mlflow.db", "case") == "file:///a%20b/mlruns/case"
    assert artifact_location("http://host:5000", "case") is None


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:secret@host:5000/path", "https://host:5000/path"),
        ("postgresql://me:se@cret@host/mlflow", "postgresql://host/mlflow"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////a/mlflow.db", "sqlite:////a/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_no_password_is_written_down(uri, shown):
    assert without_secrets(uri) == shown
