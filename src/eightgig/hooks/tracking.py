"""What MLflow is told of a run: parameters, figures, files, and how it ended."""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from pydantic import PositiveFloat

from eightgig.core.records import Record
from eightgig.report.memory_metrics import plan_metrics, trace_metrics
from eightgig.tracking import ShutdownTimeouts, TrackedRun
from eightgig.tracking.addresses import whole_uri
from eightgig.tracking.events import Status
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.trace import VramTrace

logger = logging.getLogger(__name__)

_MAX_PARAMETER_LENGTH = 6000  # MLflow's own limit


class TrackingParameters(Record):
    """`conf/*/tracking.yml`.

    Attributes:
        enabled: whether runs are tracked at all.
        tracking_uri: MLflow's database or server; `{project}` stands for the project's folder. The environment's
            MLFLOW_TRACKING_URI wins.
        spool_folder: where a run is written down until MLflow has it; a relative path begins at the project's folder.
        patience_s: how long the end of a run waits for a server that does not answer.
        busy_limit_s: the same while it answers, or a file is on its way.
    """

    enabled: bool = True
    tracking_uri: str = "sqlite:///{project}/mlflow.db"
    spool_folder: Path = Path("data/09_tracking")
    patience_s: PositiveFloat = 3.0
    busy_limit_s: PositiveFloat = 60.0


class MlflowHook:
    """Keeps one MLflow run for each `kedro run`: parameters, figures, and the files whose catalog entry asks for it.

    A catalog entry says `metadata: {mlflow: artifact}` to have its file kept, `{mlflow: metrics}` to have the numbers
    of its record kept, or names both in a list. A run never waits for MLflow, but for some seconds at its end.
    """

    def __init__(self) -> None:
        self._parameters = TrackingParameters(enabled=False)
        self._project = Path()
        self._catalog: DataCatalog | None = None
        self._run: TrackedRun | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read the configuration."""
        self._project = Path(context.project_path)
        self._parameters = TrackingParameters.model_validate(context.config_loader["tracking"])

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Start the run, and keep its parameters."""
        self._end("KILLED", "its process began another run")  # one that was left without its end, in a notebook
        if not self._parameters.enabled:
            return
        tags = {key: str(run_params[key]) for key in ("env", "tags", "node_names") if run_params.get(key)}
        self._run = self._start(
            "+".join(run_params.get("pipeline_names") or [run_params.get("pipeline_name") or "__default__"]), tags
        )
        self._catalog = catalog
        if self._run:
            self._run.log_params(dict(_run_parameters(pipeline, catalog)))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Keep the file or the numbers of a dataset whose catalog entry asks for it."""
        if self._run is None or self._catalog is None:
            return
        dataset: Any = self._catalog.get(dataset_name)
        wanted, name = (getattr(dataset, "metadata", None) or {}).get("mlflow", ()), dataset_name.rpartition(".")[2]
        if "artifact" in wanted:
            self._run.keep_file(Path(str(dataset._filepath)), name)
        if "metrics" in wanted:
            self.log_metrics(_metrics(data, name))

    @hook_impl
    def after_pipeline_run(self) -> None:
        """End the run as finished."""
        self._end("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """End the run as failed, with the error's words."""
        if self._run:
            self._run.set_tags({"error": f"{type(error).__name__}: {error}"[:_MAX_PARAMETER_LENGTH]})
        self._end("FAILED")

    def stopped(self, signal_name: str) -> None:
        """End the run as killed, by a signal such as `SIGTERM`: Kedro tells its hooks of errors alone."""
        self._end("KILLED", signal_name)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Keep figures on the run, if there is one."""
        if self._run:
            self._run.log_metrics(metrics)

    def _start(self, name: str, tags: Mapping[str, str]) -> TrackedRun | None:
        uri = os.environ.get("MLFLOW_TRACKING_URI") or self._parameters.tracking_uri
        timeouts = ShutdownTimeouts(silent_s=self._parameters.patience_s, busy_s=self._parameters.busy_limit_s)
        event_logs = self._project / self._parameters.spool_folder
        try:
            return TrackedRun.start(event_logs, whole_uri(uri, self._project), name, tags, timeouts)
        except OSError as error:
            logger.warning("this run is not tracked: %s cannot be written (%s)", event_logs, error)
            return None

    def _end(self, status: Status, killed_by: str | None = None) -> None:
        if self._run:
            self._run.end(status, killed_by=killed_by)
        self._run = self._catalog = None


def _run_parameters(pipeline: Pipeline, catalog: DataCatalog) -> Iterator[tuple[str, str]]:
    for name in sorted(pipeline.inputs()):
        if name.startswith("params:"):
            value = catalog.load(name)
            values = value.model_dump() if isinstance(value, Record) else value
            for key, leaf in _leaves(values, name.removeprefix("params:")):
                yield key, str(leaf)[:_MAX_PARAMETER_LENGTH]


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}")
    else:
        yield name, value


def _metrics(record: Record, name: str) -> dict[str, float]:
    """Return a record's figures by their dotted names: those that its kind is known by, or else all its numbers."""
    match record:
        case MemoryPlan():
            figures = plan_metrics(record)
        case VramTrace():
            figures = trace_metrics(record)
        case _:
            return dict(_numbers(record.model_dump(), name))
    return {f"{name}.{key}": value for key, value in figures.items()}


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """Yield a record's numbers by their dotted names; of lists only those by phase, since a class may have any name."""
    if isinstance(value, list | tuple):
        value = {item["phase"]: item for item in value if isinstance(item, dict) and "phase" in item}
    for key, leaf in _leaves(value, name):
        if isinstance(leaf, list | tuple):
            yield from _numbers(leaf, key)
        elif isinstance(leaf, int | float) and not isinstance(leaf, bool):
            yield key, float(leaf)
