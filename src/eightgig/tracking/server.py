"""MLflow, behind the few questions that tracking has."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from eightgig.tracking.addresses import is_local, without_secrets
from eightgig.tracking.events import LoggedDataset, LoggedModel, Start, Status
from eightgig.tracking.process import Process, this_host

# MLflow's pages hide tags whose names begin with `mlflow.`: these are for later processes, not for people.
SPOOL_TAG, HOST_TAG, PROCESS_TAG = (f"mlflow.eightgig.{name}" for name in ("spool_id", "host", "process"))
KILLED_TAG, NOTE_TAG = "eightgig.killed_by", "mlflow.note.content"
# Opens an experiment's page on runs and figures; newer ones, as 3.17, want the second in the address too.
_KIND = {"mlflow.experimentKind": "custom_model_development"}
_AS_TRAINING = "workflowType=machine_learning"
_UI = "http://127.0.0.1:5000"  # where `mlflow ui` listens unless it is told otherwise
_MAX_DIGEST_LENGTH = 36  # MLflow's own limit; the whole hash is in the data set's tag
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # MLflow's own 120 s and 7 tries hold one request for minutes. Here trying again is the upload thread's task, and a
    # request that is given up may safely be sent again.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # print fails where stdout has been closed (`kedro run | head`)
}
_REFUSALS, _UNKNOWN = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}, "RESOURCE_DOES_NOT_EXIST"
_REFUSED_FILE = {400, 411, 413, 414, 415, 422}
"""HTTP: too large, or not in this form. A server that does not know us (401, 403) may do so tomorrow."""


class RefusedError(Exception):
    """The server answers, and will never take this."""


class RunGoneError(Exception):
    """The run was deleted on the server."""


class Entry(NamedTuple):
    """A figure, a parameter or a tag.

    Attributes:
        kind: `metrics`, `params` or `tags`.
        value: a number for a figure, text otherwise.
    """

    kind: str
    name: str
    value: float | str
    ms: int = 0
    step: int = 0


class OrphanRun(NamedTuple):
    """A run that the server believes to be running."""

    run_id: str
    spool_id: str
    process: Process


def import_mlflow(uri: str = "") -> Any:
    """Import MLflow as a whole: in the main thread, since two threads that import at once can hinder each other.

    The environment's own settings win over this project's.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    import mlflow
    import mlflow.tracking

    if is_local(uri):
        import mlflow.store.tracking.sqlalchemy_store
    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return mlflow


def tags_of_this_process() -> dict[str, str]:
    """Return the tags that MLflow sets on a run: user, source, commit."""
    import_mlflow()
    from mlflow.tracking.context.registry import resolve_tags

    return {name: str(value) for name, value in resolve_tags().items()}


class TrackingServer:
    """One MLflow server or database. Any call may raise what MLflow and its stores raise when it does not answer."""

    def __init__(self, uri: str) -> None:
        self.uri, self.is_local = uri, is_local(uri)
        self._client_or_none: Any = None

    @property
    def _client(self) -> Any:
        """Connect when it is first needed: a database is made and brought up to date here."""
        if self._client_or_none is None:
            self._client_or_none = import_mlflow(self.uri).MlflowClient(self.uri)
        return self._client_or_none

    def find_or_create_run(self, start: Start) -> str:
        """Return the id of the run with this log's tag: made before a kill, by a request that seemed lost, or now."""
        experiment_id = self._experiment(start)
        for run in self._runs_of(experiment_id, start.spool_id):
            return run.info.run_id
        process = start.process
        tags = start.tags | {
            SPOOL_TAG: start.spool_id,
            HOST_TAG: process.host,
            PROCESS_TAG: f"{process.pid} {process.started}",
        }
        return self._client.create_run(experiment_id, start.ms, tags, start.name).info.run_id

    def send(self, run_id: str, entries: Sequence[Entry]) -> None:
        """Keep figures, parameters and tags; MLflow's own key makes a repeated figure no second one.

        Raises:
            RefusedError: one of them cannot be taken, or all of them at once.
            RunGoneError: the run was deleted.
        """
        import_mlflow()
        from mlflow.entities import Metric, Param, RunTag

        of_kind = {kind: [each for each in entries if each.kind == kind] for kind in ("metrics", "params", "tags")}
        metrics = [Metric(each.name, float(each.value), each.ms, each.step) for each in of_kind["metrics"]]
        params = [Param(each.name, str(each.value)) for each in of_kind["params"]]
        tags = [RunTag(each.name, str(each.value)) for each in of_kind["tags"]]
        with self._telling_refusals(run_id, _is_refused):
            self._client.log_batch(run_id, metrics, params, tags)

    def upload(self, run_id: str, path: Path, folder: str) -> None:
        """Keep a file or a folder.

        Raises:
            RefusedError: it cannot be taken.
            RunGoneError: the run was deleted.
        """
        with self._telling_refusals(run_id, _is_refused_file):
            self._client.log_artifact(run_id, str(path), folder)

    def log_dataset(self, run_id: str, dataset: LoggedDataset) -> None:
        """Name data that the run takes; named again it is no second one.

        Raises:
            RefusedError: it cannot be taken.
            RunGoneError: the run was deleted.
        """
        import_mlflow()
        from mlflow.entities import Dataset, DatasetInput, InputTag

        told = Dataset(
            name=dataset.name,
            digest=dataset.sha256[:_MAX_DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": dataset.source}),
            profile=json.dumps({"num_rows": dataset.num_samples}),
        )
        tags = [InputTag("mlflow.data.context", dataset.context), InputTag("eightgig.sha256", dataset.sha256)]
        with self._telling_refusals(run_id, _is_refused):
            self._client.log_inputs(run_id, [DatasetInput(told, tags)])

    def log_model(self, run_id: str, model: LoggedModel, path: Path, ms: int) -> None:
        """Name a network that the run made, with its file and its figures; named again it is no second one.

        Raises:
            RefusedError: it cannot be taken.
            RunGoneError: the run was deleted.
        """
        import_mlflow()
        from mlflow.entities import LoggedModelOutput, Metric

        with self._telling_refusals(run_id, lambda error: _is_refused(error) or _is_refused_file(error)):
            run = self._client.get_run(run_id)
            known = self._find_or_create_model(run, model)
            self._client.log_model_artifact(known, str(path))
            self._client.finalize_logged_model(known, "READY")
            metrics = [Metric(name, value, ms, 0, model_id=known) for name, value in model.metrics.items()]
            self._client.log_batch(run_id, metrics)
            if known not in {output.model_id for output in run.outputs.model_outputs}:
                self._client.log_outputs(run_id, [LoggedModelOutput(known, step=0)])

    def check(self, run_id: str) -> None:
        """Return where the server answers."""
        self._client.get_run(run_id)

    def end(self, run_id: str, start: Start, status: Status, ms: int, killed_by: str | None) -> str:
        """Set a run's end, and give the address of its page; of a database's run, the one that `mlflow ui` gives it.

        A second run that a lost answer has left is removed, and so is an earlier guess at the end.
        """
        run = self._client.get_run(run_id)
        for other in self._runs_of(run.info.experiment_id, start.spool_id):
            if other.info.run_id != run_id:
                self._client.delete_run(other.info.run_id)
        if killed_by:
            self._client.set_tag(run_id, KILLED_TAG, killed_by)
        elif KILLED_TAG in run.data.tags:
            self._client.delete_tag(run_id, KILLED_TAG)
        self._client.set_terminated(run_id, status, ms)
        where = without_secrets(self.uri).rstrip("/") if self.uri.startswith("http") else _UI
        return f"{where}/#/experiments/{run.info.experiment_id}/runs/{run_id}?{_AS_TRAINING}"

    def left_running(self) -> Iterator[OrphanRun]:
        """Yield the runs that processes of this machine began and that have not ended."""
        experiments = [each.experiment_id for each in _pages(self._client.search_experiments)]
        wanted = f"attributes.status = 'RUNNING' and tags.`{HOST_TAG}` = '{this_host()}'"
        for run in _pages(self._client.search_runs, experiment_ids=experiments, filter_string=wanted):
            pid, _, started = run.data.tags.get(PROCESS_TAG, "").partition(" ")
            if pid.isdigit():
                process = Process(host=this_host(), pid=int(pid), started=started)
                yield OrphanRun(run.info.run_id, run.data.tags.get(SPOOL_TAG, ""), process)

    def reap(self, run_id: str, killed_by: str, ms: int) -> None:
        """End a run as killed, unless it has ended by now."""
        if self._client.get_run(run_id).info.status == "RUNNING":
            self._client.set_tag(run_id, KILLED_TAG, killed_by)
            self._client.set_terminated(run_id, "KILLED", ms)

    def _experiment(self, start: Start) -> str:
        found = self._client.get_experiment_by_name(start.experiment)
        if found is None:
            try:
                return self._client.create_experiment(start.experiment, start.artifact_location, _KIND)
            except Exception:
                found = self._client.get_experiment_by_name(start.experiment)  # another process may have been faster
                if found is None:
                    raise
        return found.experiment_id

    def _find_or_create_model(self, run: Any, model: LoggedModel) -> str:
        wanted = f"source_run_id = '{run.info.run_id}' AND name = '{model.name}'"
        for found in self._client.search_logged_models([run.info.experiment_id], wanted):
            return found.model_id
        made = self._client.create_logged_model(
            run.info.experiment_id, model.name, run.info.run_id, params=model.params, model_type=model.model_type
        )
        return made.model_id

    def _runs_of(self, experiment_id: str, spool_id: str) -> list[Any]:
        return list(self._client.search_runs([experiment_id], f"tags.`{SPOOL_TAG}` = '{spool_id}'"))

    @contextmanager
    def _telling_refusals(self, run_id: str, is_refusal: Callable[[Exception], bool]) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._raise_if_gone(run_id, error)
            if is_refusal(error):
                raise RefusedError(error_message(error)) from error
            raise

    def _raise_if_gone(self, run_id: str, error: Exception) -> None:
        if getattr(error, "error_code", None) not in {*_REFUSALS, _UNKNOWN}:
            return
        from mlflow.exceptions import MlflowException

        try:
            is_there = self._client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as second:
            is_there = second.error_code != _UNKNOWN
        if not is_there:
            raise RunGoneError(run_id) from error


def _is_refused(error: Exception) -> bool:
    return getattr(error, "error_code", None) in _REFUSALS


def _is_refused_file(error: Exception) -> bool:
    return getattr(getattr(error, "response", None), "status_code", None) in _REFUSED_FILE


def _pages(search: Any, **wanted: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(**wanted, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def error_message(error: Exception) -> str:
    """Return what an error says, in one line, without a password; of a failed connection the cause, which is last."""
    said = str(error).rpartition("Caused by ")[2] or type(error).__name__
    return re.sub(r"//[^/\s]*@", "//", " ".join(said.split()))[:200]
