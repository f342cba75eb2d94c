"""When a run's checkpoints are saved, and what happens where one cannot be."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eightgig.core.errors import CheckpointError
from eightgig.training.checkpointing.checkpoint import Checkpoints

logger = logging.getLogger(__name__)
_MAX_TIME_SHARE = 0.01  # what a run pays at most for losing little


class CheckpointTimer:
    """When the next checkpoint is due: after so many seconds, or later where saving would cost over 1 % of the time."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s, self._due = interval_s, math.inf

    def start(self, *, cost_s: float = 0.0) -> None:
        """Count from now on; `cost_s` is how long the last checkpoint took."""
        self._due = time.monotonic() + max(self._interval_s, cost_s / _MAX_TIME_SHARE)

    def is_due(self) -> bool:
        """Return whether a checkpoint should be saved now."""
        return time.monotonic() >= self._due


class CheckpointSaver:
    """Saves the checkpoints of a run in the one process that does it for all.

    Args:
        checkpoints: where; None saves nothing.
        interval_s: between two checkpoints.
        is_first: whether this is the process that saves.

    Attributes:
        timer: says when the next one is due.
    """

    def __init__(self, checkpoints: Checkpoints | None, *, interval_s: float, is_first: bool) -> None:
        self._checkpoints, self._is_first = checkpoints, is_first
        self.timer = CheckpointTimer(interval_s)

    @property
    def folder(self) -> Path | None:
        """Where the checkpoints are; None where none are saved."""
        return self._checkpoints.folder if self._checkpoints else None

    def require_space(self, num_bytes: int) -> None:
        """Refuse to begin what would not end.

        Raises:
            CheckpointError: the disk has less than `num_bytes` left.
        """
        if self._checkpoints and self._is_first:
            self._checkpoints.require_space(num_bytes)

    def save(self, state_dict: Callable[[], dict[str, Any]], *, step: int) -> None:
        """Save a checkpoint. A full disk does not end a run that can go on: the next one may find room.

        Args:
            state_dict: makes the state; it is called in every process, for it may collect from all.
            step: optimizer steps done.
        """
        if self._checkpoints is None:
            return
        begun = time.monotonic()
        state = state_dict()
        if self._is_first:
            try:
                self._checkpoints.save(state, step=step)
            except CheckpointError as error:
                logger.error("%s Training goes on; the checkpoint before this one is kept.", error)
        self.timer.start(cost_s=time.monotonic() - begun)

    def save_last(self, state: dict[str, Any], *, step: int) -> None:
        """Save what a finished run gives, in place of all its checkpoints.

        Raises:
            CheckpointError: it does not fit on the disk, or cannot be written.
        """
        if self._checkpoints and self._is_first:
            self._checkpoints.save(state, step=step, keep=1)
