"""The experiment tracker as a dataset: what the training loop logs to, without knowing MLflow."""

from collections.abc import Mapping
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from eightgig.core.tracker import NoTracker, Tracker


class TrackerDataset(AbstractDataset[None, Tracker]):
    """Loads as a `Tracker` on the MLflow run that the project's hook started, or one that keeps nothing without it."""

    def __init__(self, *, metadata: dict[str, Any] | None = None) -> None:
        self.metadata = metadata

    def load(self) -> Tracker:
        """Give the tracker of the active run."""
        import mlflow

        run = mlflow.active_run()
        return MlflowTracker(run.info.run_id) if run else NoTracker()

    def save(self, data: None) -> None:  # noqa: ARG002
        """Refuse: figures are logged through the tracker, not saved."""
        raise DatasetError("A tracker is an input: log figures through it instead of saving it.")

    def _describe(self) -> dict[str, Any]:
        return {}


class MlflowTracker:
    """Logs to one MLflow run, one request a batch of figures (a request costs about 30 ms on sqlite)."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Keep one batch of named figures, at a step when given."""
        import mlflow

        mlflow.log_metrics(dict(metrics), step=step, run_id=self._run_id)
