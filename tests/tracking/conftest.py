"""A database of MLflow's for each test, runs that are surely ended, and what MLflow holds in the end."""

import shutil
from pathlib import Path

import pytest

from eightgig.tracking import ShutdownTimeouts, TrackedRun
from eightgig.tracking.event_log import EventLog, new_spool_id
from eightgig.tracking.events import Start
from eightgig.tracking.process import Process
from eightgig.tracking.server import import_mlflow


@pytest.fixture
def nobody() -> str:
    """The address of a server that is dead."""
    return "http://127.0.0.1:9"  # the port `discard`, where nothing listens


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    """Made once: MLflow takes a second to make one."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    import_mlflow().MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def database(empty_database, tmp_path) -> str:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def client(database):
    return import_mlflow().MlflowClient(database)


@pytest.fixture
def event_logs(tmp_path) -> Path:
    return tmp_path / "data" / "09_tracking"


@pytest.fixture
def begin(event_logs, database):
    """Begins runs, and ends those that a test has left."""
    begun: list[TrackedRun] = []

    def make(uri: str = database, name: str = "case", **timeouts: float) -> TrackedRun:
        begun.append(TrackedRun.start(event_logs, uri, name, {"env": "ci"}, ShutdownTimeouts(**timeouts)))
        return begun[-1]

    yield make
    for run in begun:
        run.end("KILLED")


@pytest.fixture
def make_spool(event_logs):
    """Makes the event log of a run whose sending has not begun."""

    def make(uri: str, process: Process | None = None, **changed) -> tuple[EventLog, Start]:
        fields = {"uri": uri, "experiment": "case", "artifact_location": (event_logs.parent / "artifacts").as_uri()}
        fields |= {"name": "case", "tags": {"mlflow.user": "me"}, "ms": 1_000, "spool_id": new_spool_id()} | changed
        start = Start(process=process or Process.current(), **fields)
        return EventLog.create(event_logs / start.spool_id, start), start

    return make


@pytest.fixture
def gone() -> Process:
    """A process of this machine that has ended."""
    return Process.current().model_copy(update={"pid": 2**22 - 1, "started": "long ago"})


@pytest.fixture
def held(client):
    """Gives all that MLflow holds of the one run of an experiment."""
    return lambda experiment="case": what_is_held(client, experiment)


def what_is_held(client, experiment):
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    points = [
        (point.key, point.step, point.value, point.timestamp)
        for key in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, key)
    ]
    files = {item.path for item in _files(client, run.info.run_id, None)}
    return run, sorted(points), files


def _files(client, run_id, folder):
    for item in client.list_artifacts(run_id, folder):
        yield from _files(client, run_id, item.path) if item.is_dir else [item]
