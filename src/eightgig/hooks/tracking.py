"""What MLflow is told of a run: parameters, figures, files, and how it ended."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from pydantic import NonNegativeFloat, PositiveFloat

from eightgig.core.records import Record
from eightgig.hooks.recommended import recommended_models
from eightgig.hooks.run_page import RunPage, all_figures, leaves, main_figures
from eightgig.tracking import ShutdownTimeouts, TrackedRun
from eightgig.tracking.addresses import whole_uri
from eightgig.tracking.events import LoggedDataset, Status
from eightgig.tracking.fluent import FluentRun
from eightgig.tracking.server import NOTE_TAG
from eightgig.tracking.system_metrics import SystemMetrics

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
        system_metrics_s: the time between two readings of the machine's load and its GPUs' memory; 0 reads nothing.
    """

    enabled: bool = True
    tracking_uri: str = "sqlite:///{project}/mlflow.db"
    spool_folder: Path = Path("data/09_tracking")
    patience_s: PositiveFloat = 3.0
    busy_limit_s: PositiveFloat = 60.0
    system_metrics_s: NonNegativeFloat = 10.0


class MlflowHook:
    """Keeps one MLflow run for each `kedro run`: parameters, data, figures, and files.

    A catalog entry says what of it is kept, in `metadata: {mlflow: ...}`, one word or a list: `artifact` its file,
    `metrics` the numbers of its record, `input` its name and hash where a run takes it. Numbers that are named under
    `mlflow_main` stand beside the others under their own short names. A run never waits for MLflow, but for some
    seconds at its end.
    """

    def __init__(self) -> None:
        self._parameters = TrackingParameters(enabled=False)
        self._project = Path()
        self._catalog: DataCatalog | None = None
        self._run: TrackedRun | None = None
        self._fluent: FluentRun | None = None
        self._system_metrics: SystemMetrics | None = None
        self._page = RunPage("", "")
        self._inputs: set[str] = set()
        self._details: dict[str, float] = {}

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
        pipelines = "+".join(run_params.get("pipeline_names") or [run_params.get("pipeline_name") or "__default__"])
        self._page = RunPage(pipelines, _stages(pipeline))
        tags = {key: str(run_params[key]) for key in ("env", "tags", "node_names") if run_params.get(key)}
        self._run = self._start(pipelines, _run_name(pipelines, pipeline, catalog), tags)
        self._catalog = catalog
        if self._run:
            self._run.set_tags({NOTE_TAG: self._page.description()})
            self._run.log_params(dict(_run_parameters(pipeline, catalog)))

    @hook_impl
    def before_node_run(self) -> None:
        """Let `mlflow.log_metric` and its like in the node write into this run."""
        if self._fluent:
            self._fluent.enter()

    @hook_impl
    def after_node_run(self) -> None:
        """Leave MLflow's functions as they were."""
        if self._fluent:
            self._fluent.leave()

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Name the data that the run takes, once."""
        if self._run is None or "input" not in self._wanted(dataset_name) or dataset_name in self._inputs:
            return
        self._inputs.add(dataset_name)
        self._run.log_dataset(
            LoggedDataset(
                name=dataset_name, sha256=data.sha256, source=self._source(dataset_name), num_samples=len(data)
            )
        )

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Keep the file or the numbers of a dataset whose catalog entry asks for it."""
        if self._run is None or self._catalog is None:
            return
        wanted, (case, _, name) = self._wanted(dataset_name), dataset_name.rpartition(".")
        if "artifact" in wanted:
            dataset: Any = self._catalog.get(dataset_name)
            self._run.keep_file(Path(str(dataset._filepath)), name)
        if "metrics" in wanted:
            self._details |= {f"{name}/{key}": value for key, value in all_figures(data).items()}
        figures = main_figures(name, data, self._metadata(dataset_name).get("mlflow_main", ()))
        self.log_metrics(figures.numbers)
        if figures.texts:
            self._run.set_tags(figures.texts)
        self._page.add(name, data, figures)
        if name == "benchmark_table":
            for model, path in recommended_models(case, data, self._catalog):
                self._run.log_model(model, path)

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

    def _start(self, experiment: str, name: str, tags: Mapping[str, str]) -> TrackedRun | None:
        uri = whole_uri(os.environ.get("MLFLOW_TRACKING_URI") or self._parameters.tracking_uri, self._project)
        patience_s = self._parameters.patience_s
        timeouts = ShutdownTimeouts(silent_s=patience_s, busy_s=self._parameters.busy_limit_s)
        event_logs = self._project / self._parameters.spool_folder
        try:
            run = TrackedRun.start(event_logs, uri, experiment, tags, timeouts, name=name)
        except OSError as error:
            logger.warning("this run is not tracked: %s cannot be written (%s)", event_logs, error)
            return None
        self._fluent = FluentRun(run, uri, patience_s)
        if self._parameters.system_metrics_s:
            self._system_metrics = SystemMetrics(run.log_metrics, self._parameters.system_metrics_s)
            self._system_metrics.start()
        return run

    def _end(self, status: Status, killed_by: str | None = None) -> None:
        if self._fluent:
            self._fluent.leave()
        if self._system_metrics:
            self._system_metrics.stop()
        if self._run:
            # Pages of MLflow list figures as they came: all the others' many would bury those that one looks for first.
            self._run.log_metrics(self._details)
            self._run.set_tags({NOTE_TAG: self._page.description()})
            self._run.end(status, killed_by=killed_by)
        self._run = self._catalog = self._fluent = self._system_metrics = None
        self._inputs, self._details = set(), {}

    def _metadata(self, dataset_name: str) -> Mapping[str, Any]:
        dataset: Any = self._catalog.get(dataset_name) if self._catalog is not None else None
        return getattr(dataset, "metadata", None) or {}

    def _wanted(self, dataset_name: str) -> Sequence[str]:
        wanted: str | list[str] = self._metadata(dataset_name).get("mlflow", ())
        return [wanted] if isinstance(wanted, str) else wanted

    def _source(self, dataset_name: str) -> str:
        """Return the folder that a store was made from; the store itself where that is not known."""
        catalog: Any = self._catalog
        raw = f"{dataset_name.rpartition('.')[0]}.raw"
        if raw in catalog and catalog.exists(raw):
            return str(getattr(catalog.load(raw), "root", ""))
        return str(getattr(catalog.get(dataset_name), "_filepath", ""))


def _run_name(pipelines: str, pipeline: Pipeline, catalog: DataCatalog) -> str:
    """Return what tells a run from others of its kind: the case, its networks, and when it began."""
    models = [catalog.load(name) for name in sorted(pipeline.inputs()) if name.endswith(".model")]
    networks = [str(getattr(model, "name", "")).rpartition("/")[2] for model in models]
    return " ".join([pipelines, *filter(None, networks), time.strftime("%Y-%m-%d %H:%M:%S")])


def _stages(pipeline: Pipeline) -> str:
    """Return the stages that are run, in their order; a stage's nodes are tagged by its name."""
    return ", ".join(dict.fromkeys(tag for node in pipeline.nodes for tag in sorted(node.tags)))


def _run_parameters(pipeline: Pipeline, catalog: DataCatalog) -> Iterator[tuple[str, str]]:
    for name in sorted(pipeline.inputs()):
        if name.startswith("params:"):
            value = catalog.load(name)
            values = value.model_dump() if isinstance(value, Record) else value
            for key, leaf in leaves(values, name.removeprefix("params:")):
                yield key, str(leaf)[:_MAX_PARAMETER_LENGTH]
