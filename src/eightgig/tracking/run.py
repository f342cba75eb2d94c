"""The handle on the run that goes on: what it is told is written down at once and sent beside."""

import atexit
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from eightgig.core.records import Record
from eightgig.core.stop import Stopped
from eightgig.tracking.addresses import artifact_location, without_secrets
from eightgig.tracking.event_log import EventLog, new_spool_id
from eightgig.tracking.events import Event, EventFile, LoggedDataset, LoggedModel, Start, Status
from eightgig.tracking.old_runs import OldRuns
from eightgig.tracking.process import Process
from eightgig.tracking.server import TrackingServer, import_mlflow, tags_of_this_process
from eightgig.tracking.upload_thread import UploadThread
from eightgig.tracking.uploader import Uploader

logger = logging.getLogger(__name__)

_KILLED_LIMIT_S = 5.0  # whoever sends SIGTERM sends SIGKILL ten seconds later
_active: "TrackedRun | None" = None


class ShutdownTimeouts(Record):
    """How long the end of a run may wait for MLflow.

    Attributes:
        silent_s: when no answer comes.
        busy_s: in all, while answers come or a file is on its way.
    """

    silent_s: float = 3.0
    busy_s: float = 60.0


def active_run() -> "TrackedRun | None":
    """Return the run that goes on in this process."""
    return _active


class SpoolTracker:
    """A `Tracker` on a run; may be pickled to another process of the run, as long as that one sees the same folder."""

    def __init__(self, events: EventFile) -> None:
        self._events, self._failed = events, False

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Keep one batch of named figures, at a step when given; takes microseconds and never raises for tracking."""
        numbers = {name: number for name, value in metrics.items() if (number := _number(name, value)) is not None}
        self.write({"kind": "metrics", "ms": _now_ms(), "step": int(step or 0), "metrics": numbers})

    def write(self, event: Event) -> None:
        """Write an event down; a disk that is full is said once, and costs the run nothing but what is tracked."""
        try:
            self._events.append(event)
        except OSError as error:
            if not self._failed:
                logger.warning("tracking: from now on nothing can be written down: %s", error)
            self._failed = True


class TrackedRun:
    """One run, from its start to its end; made by `start`."""

    def __init__(
        self, event_log: EventLog, upload_thread: UploadThread, old_runs: OldRuns, timeouts: ShutdownTimeouts
    ) -> None:
        self._event_log, self._upload_thread, self._old_runs, self._patience = (
            event_log,
            upload_thread,
            old_runs,
            timeouts,
        )
        self._tracker, self._pid, self._ended = SpoolTracker(event_log.events), os.getpid(), False
        atexit.register(self._leave)

    @classmethod
    def start(
        cls,
        event_logs: Path,
        uri: str,
        experiment: str,
        tags: Mapping[str, str],
        timeouts: ShutdownTimeouts,
        *,
        name: str = "",
    ) -> Self:
        """Begin a run, and to send it; also what earlier processes have left.

        Args:
            event_logs: the folder that holds each run's own.
            uri: MLflow's tracking URI.
            experiment: its name; made where it is missing.
            tags: more of them than MLflow's own.
            timeouts: how long the end may take.
            name: of the run; the experiment's unless given.

        Raises:
            OSError: the folder cannot be written.
        """
        global _active  # noqa: PLW0603 - as in MLflow: datasets are made by Kedro and have to find the run
        import_mlflow(uri)
        event_log, start = _new_event_log(event_logs, uri, experiment, name or experiment)
        uploader = Uploader(event_log, start, TrackingServer(uri))
        upload_thread = UploadThread(event_log, uploader)
        run = cls(event_log, upload_thread, OldRuns(event_logs, uri, upload_thread.in_contact), timeouts)
        run.set_tags(tags)
        upload_thread.start()
        run._old_runs.start()
        _active = run
        return run

    def tracker(self) -> SpoolTracker:
        """Return what the training loop logs to."""
        return self._tracker

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Keep figures, at a step when given."""
        if metrics:
            self._tracker.log_metrics(metrics, step=step)

    def log_params(self, params: Mapping[str, str]) -> None:
        """Keep parameters."""
        self._tracker.write({"kind": "params", "params": dict(params)})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._tracker.write({"kind": "tags", "tags": dict(tags)})

    def log_dataset(self, dataset: LoggedDataset) -> None:
        """Name data that the run takes."""
        self._tracker.write({"kind": "dataset", "dataset": dataset.model_dump()})

    def keep_file(self, path: Path, folder: str) -> None:
        """Keep a file, or a folder of files, as it is now."""
        self._keep(path, folder, {})

    def log_model(self, model: LoggedModel, path: Path) -> None:
        """Name a network that the run made, and keep its file, or its folder of files, as it is now."""
        self._keep(path, "", {"kind": "model", "ms": _now_ms(), "model": model.model_dump()})

    def mlflow_id(self, patience_s: float) -> str | None:
        """Return MLflow's id of the run, which its server gives; None where no answer comes in time."""
        return self._upload_thread.run_id(patience_s)

    def end(self, status: Status, *, killed_by: str | None = None) -> None:
        """End the run, and wait for MLflow within bounds; what is left is said, and sent later.

        Args:
            status: MLflow's word.
            killed_by: what ended a run that was killed, for its tag.
        """
        global _active
        if self._ended:
            return
        self._ended, _active = True, None
        atexit.unregister(self._leave)
        self._tracker.write({"kind": "end", "ms": _now_ms(), "status": status, "killed_by": killed_by})
        silent_s, limit_s = self._patience.silent_s, self._patience.busy_s
        if status == "KILLED":
            limit_s = min(limit_s, _KILLED_LIMIT_S)
        begun = time.monotonic()
        if not self._upload_thread.finish(silent_s, limit_s):
            self._say_what_is_left()
        self._old_runs.stop(0.0 if status == "KILLED" else max(0.0, begun + silent_s - time.monotonic()))

    def _keep(self, path: Path, folder: str, told: Event) -> None:
        try:
            self._tracker.write({**self._event_log.keep(path, folder), **told})
        except OSError as error:
            logger.warning("tracking: %s is not kept: %s", path, error)

    def _leave(self) -> None:
        """At the exit of a process that did not end its run: `sys.exit`, or a Ctrl-C that nothing caught."""
        if os.getpid() == self._pid:  # not a copy of the process
            self.end("KILLED", killed_by=Stopped.last_signal_name or "its process left without ending it")

    def _say_what_is_left(self) -> None:
        logger.warning(
            "tracking: %d entries of this run did not reach MLflow (%s). They are kept in %s, and sent when the next "
            "run starts, or by: eightgig replay %s",
            self._upload_thread.num_left(), self._upload_thread.trouble or "no answer in time",
            self._event_log.folder, self._event_log.folder.parent,
        )  # fmt: skip


def _new_event_log(event_logs: Path, uri: str, experiment: str, name: str) -> tuple[EventLog, Start]:
    start = Start(
        spool_id=new_spool_id(),
        uri=without_secrets(uri),
        experiment=experiment,
        artifact_location=artifact_location(uri, experiment),
        name=name,
        tags=tags_of_this_process(),
        process=Process.current(),
        ms=_now_ms(),
    )
    return EventLog.create(event_logs / start.spool_id, start), start


def _number(name: str, value: float) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        logger.warning("tracking: %s is no number and is left out: %.60r", name, value)
        return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
