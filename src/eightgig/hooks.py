"""What happens around every run: a look at the machine, an MLflow run, each node's time and memory."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from eightgig.core.records import Record
from eightgig.core.units import format_bytes, gib
from eightgig.report.memory_metrics import plan_metrics, trace_metrics
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.measure import MeasuredPhase, MemoryMeter
from eightgig.vram.trace import VramTrace

logger = logging.getLogger(__name__)
_MAX_PARAMETER_LENGTH = 6000  # MLflow's own limit


class TrackingParameters(Record):
    """`conf/*/tracking.yml`.

    Attributes:
        enabled: whether runs are tracked at all.
        tracking_uri: MLflow's database or server; `{project}` stands for the project's folder. The environment's
            MLFLOW_TRACKING_URI wins.
    """

    enabled: bool = True
    tracking_uri: str = "sqlite:///{project}/mlflow.db"


class MlflowHook:
    """Keeps one MLflow run for each `kedro run`: parameters, figures, and the files whose catalog entry asks for it.

    A catalog entry says `metadata: {mlflow: artifact}` to have its file kept, `{mlflow: metrics}` to have the numbers
    of its record kept, or names both in a list.
    """

    def __init__(self) -> None:
        self._parameters = TrackingParameters(enabled=False)
        self._project = Path()
        self._catalog: DataCatalog | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read the configuration."""
        self._project = Path(context.project_path)
        self._parameters = TrackingParameters.model_validate(context.config_loader["tracking"])

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Start the run, and keep its parameters."""
        if not self._parameters.enabled:
            return
        mlflow = _import_mlflow()
        self._catalog = catalog
        name = "+".join(run_params.get("pipeline_names") or [run_params.get("pipeline_name") or "__default__"])
        uri = os.environ.get("MLFLOW_TRACKING_URI") or self._parameters.tracking_uri
        mlflow.set_tracking_uri(uri.format(project=self._project.as_posix()))
        _choose_experiment(mlflow, name)
        mlflow.start_run(run_name=name)
        mlflow.set_tags({key: str(run_params[key]) for key in ("env", "tags", "node_names") if run_params.get(key)})
        mlflow.log_params(dict(_run_parameters(pipeline, catalog)))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Keep the file or the numbers of a dataset whose catalog entry asks for it."""
        if self._catalog is None:
            return
        dataset: Any = self._catalog.get(dataset_name)
        wanted, name = (getattr(dataset, "metadata", None) or {}).get("mlflow", ()), dataset_name.rpartition(".")[2]
        if "artifact" in wanted:
            _import_mlflow().log_artifact(str(dataset._filepath), name)
        if "metrics" in wanted:
            self.log_metrics(_metrics(data, name))

    @hook_impl
    def after_pipeline_run(self) -> None:
        """End the run as finished."""
        self._end("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """End the run as failed, with the error's words."""
        if self._catalog is not None:
            _import_mlflow().set_tag("error", f"{type(error).__name__}: {error}"[:_MAX_PARAMETER_LENGTH])
        self._end("FAILED")

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Keep figures on the run, if there is one."""
        if self._catalog is not None and metrics:
            _import_mlflow().log_metrics(dict(metrics))

    def _end(self, status: str) -> None:
        if self._catalog is not None:
            _import_mlflow().end_run(status)
            self._catalog = None


class NodeMemoryHook:
    """Measures each node from its start until its outputs are saved (a store is written in its dataset's save).

    Args:
        on_finished: receives figures by name when the pipeline is over.
    """

    def __init__(self, on_finished: Callable[[Mapping[str, float]], None]) -> None:
        self._on_finished = on_finished
        self._meter: MemoryMeter | None = None
        self._measured: list[MeasuredPhase] = []

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Close the node before this one, whose outputs are saved by now, and open this one."""
        self._close()
        self._meter = MemoryMeter(node.name.partition(".")[2] or node.name, "cpu")
        self._meter.start()

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Say where time and memory went."""
        self._close()
        for phase in self._measured:
            logger.info(
                "%-28s %6.1f s, %s at most", phase.phase, phase.seconds, format_bytes(phase.peak_resident_bytes)
            )
        self._on_finished(
            {f"seconds.{phase.phase}": phase.seconds for phase in self._measured}
            | {f"peak_resident_gib.{phase.phase}": gib(phase.peak_resident_bytes) for phase in self._measured}
        )
        self._measured.clear()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Stop measuring."""
        self._close()
        self._measured.clear()

    def _close(self) -> None:
        if self._meter:
            self._meter.stop()
            self._measured.append(self._meter.result())
            self._meter = None


class DoctorHook:
    """Says before a run what of this machine may spoil it, each finding once; `make doctor` says all."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Log warnings and problems; readings that go wrong never stop a run."""
        from eightgig.vram.doctor import diagnose

        try:
            findings = diagnose("quick").serious
        except (OSError, ValueError) as error:
            logger.debug("the doctor could not look at this machine: %s", error)
            return
        for finding in findings:
            if finding.code not in self._told:
                self._told.add(finding.code)
                logger.warning("%s", finding.sentence())


def _choose_experiment(mlflow: Any, name: str) -> None:
    """Make the experiment if it is new; with a database file, artifacts lie beside that file, not where we stand."""
    uri = mlflow.get_tracking_uri()
    if uri.startswith("sqlite:///") and mlflow.get_experiment_by_name(name) is None:
        database = Path(uri.removeprefix("sqlite:///")).resolve()
        mlflow.create_experiment(name, artifact_location=(database.parent / "mlruns" / name).as_uri())
    mlflow.set_experiment(name)


def _import_mlflow() -> Any:
    """Import MLflow with its telemetry off and its migrations quiet."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    import mlflow

    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return mlflow


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
    """Give a record's figures by their dotted names: those that its kind is known by, or else all its numbers."""
    match record:
        case MemoryPlan():
            figures = plan_metrics(record)
        case VramTrace():
            figures = trace_metrics(record)
        case _:
            return dict(_numbers(record.model_dump(), name))
    return {f"{name}.{key}": value for key, value in figures.items()}


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """Give a record's numbers by their dotted names; of lists only those by phase, since a class may have any name."""
    if isinstance(value, list | tuple):
        value = {item["phase"]: item for item in value if isinstance(item, dict) and "phase" in item}
    for key, leaf in _leaves(value, name):
        if isinstance(leaf, list | tuple):
            yield from _numbers(leaf, key)
        elif isinstance(leaf, int | float) and not isinstance(leaf, bool):
            yield key, float(leaf)
