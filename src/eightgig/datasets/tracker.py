"""The experiment tracker as a dataset: what the training loop logs to, without knowing MLflow."""

from typing import Any

from kedro.io import AbstractDataset, DatasetError

from eightgig.core.tracker import NoTracker, Tracker
from eightgig.tracking import active_run


class TrackerDataset(AbstractDataset[None, Tracker]):
    """Loads as a `Tracker` on the run that the project's hook started, or one that keeps nothing without it."""

    def __init__(self, *, metadata: dict[str, Any] | None = None) -> None:
        self.metadata = metadata

    def load(self) -> Tracker:
        """Return the tracker of the active run."""
        run = active_run()
        return run.tracker() if run else NoTracker()

    def save(self, data: None) -> None:  # noqa: ARG002
        """Refuse: figures are logged through the tracker, not saved."""
        raise DatasetError("A tracker is an input: log figures through it instead of saving it.")

    def _describe(self) -> dict[str, Any]:
        return {}
