"""What the training loop needs of an experiment tracker, and no more."""

from collections.abc import Mapping
from typing import Protocol


class Tracker(Protocol):
    """Receives figures while a run goes on."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Keep one batch of named figures, at a step (for example the epoch) when given."""


class NoTracker:
    """Keeps nothing: for tests and for runs without tracking."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Forget the figures."""
