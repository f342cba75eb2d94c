"""What the training loop needs of an experiment tracker, and no more."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Tracker(Protocol):
    """Receives figures while a run goes on."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Keep one batch of named figures, at a step (for example the epoch) when given."""


class NoTracker:
    """Keeps nothing: for tests and for runs without tracking."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Forget the figures."""


class FileTracker:
    """Appends each batch of figures as a JSON line, for another process that tracks them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Write the figures down at once."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"metrics": dict(metrics), "step": step}) + "\n")
