"""What dead processes have left: event logs that were not sent, and runs that MLflow believes to be running."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from eightgig.tracking.addresses import without_secrets
from eightgig.tracking.event_log import EventLog, event_logs_in
from eightgig.tracking.events import Start
from eightgig.tracking.process import Process, this_host
from eightgig.tracking.server import RunGoneError, TrackingServer, error_message
from eightgig.tracking.uploader import Uploader

logger = logging.getLogger(__name__)

_AGAIN_S = 30.0


class Replayed(NamedTuple):
    """How many old runs were sent, are held by others, or are kept because their server did not take them."""

    sent: int = 0
    held: int = 0
    kept: int = 0


class OldRuns:
    """Sends what earlier processes left, in a thread of its own, and ends their runs.

    Args:
        event_logs: the folder that holds each run's own.
        uri: this run's server, with user name and password if it has them.
        may_begin: set when that server has answered this run.
    """

    def __init__(self, event_logs: Path, uri: str, may_begin: threading.Event) -> None:
        self._spools, self._uri, self._may_begin = event_logs, uri, may_begin
        self._stopped, self._looked = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="tracking of old runs", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, patience_s: float) -> None:
        """Let it go on for a while if it is at work, then stop it; what is left is for the next run."""
        if self._may_begin.is_set():
            self._looked.wait(patience_s)
        self._stopped.set()

    def _work(self) -> None:
        while not self._may_begin.wait(0.2):
            if self._stopped.is_set():
                return
        while not self._stopped.is_set():
            replayed = replay(self._spools, {without_secrets(self._uri): self._uri}, self._stopped.is_set)
            reap(TrackingServer(self._uri), self._spools)
            self._looked.set()
            if not replayed.held:
                return
            self._stopped.wait(_AGAIN_S)


def replay(
    event_logs: Path, full_uris: dict[str, str], is_stopped: Callable[[], bool], *, of_any_host: bool = False
) -> Replayed:
    """Send the event logs of runs that are over, and of processes that are gone, the oldest first.

    Args:
        event_logs: the folder that holds each run's own.
        full_uris: to a server's URI as it was written down, the one to send to.
        is_stopped: asked between two pieces.
        of_any_host: also those without an end of other machines and containers, where only the lock tells who lives.
    """
    sent = held = kept = 0
    for event_log in event_logs_in(event_logs):
        if is_stopped():
            break
        start = event_log.start()
        if start is None or not _may_be_over(event_log, start, of_any_host=of_any_host):
            continue
        if not event_log.hold():
            held += start.process.is_gone()  # by its own loader processes, which end in some seconds
        elif _send(event_log, start, TrackingServer(full_uris.get(start.uri, start.uri)), is_stopped):
            sent += 1
        else:
            kept += 1
    return Replayed(sent, held, kept)


def reap(server: TrackingServer, event_logs: Path) -> None:
    """End the runs of this machine whose processes are gone, unless their event logs lie here and will tell the end."""
    try:
        for run in list(server.left_running()):
            if run.process.is_gone() and not (event_logs / run.spool_id).exists():
                server.reap(run.run_id, _gone(run.process), time.time_ns() // 1_000_000)
                logger.info("tracking: run %s was left running; it is marked as killed", run.run_id)
    except Exception as error:  # noqa: BLE001 - the next run's start tries again
        logger.debug("tracking: runs that were left running could not be ended: %s", error_message(error))


def _may_be_over(event_log: EventLog, start: Start, *, of_any_host: bool) -> bool:
    """Return whether a run has ended, or its process is gone, or is this one; then the lock has the last word."""
    if of_any_host and start.process.host != this_host():
        return True
    return start.process == Process.current() or start.process.is_gone() or _has_end(event_log)


def _has_end(event_log: EventLog) -> bool:
    try:
        return any((written.event or {}).get("kind") == "end" for written in event_log.events.read())
    except OSError:
        return False  # sent and removed by its own process meanwhile


def _send(event_log: EventLog, start: Start, server: TrackingServer, is_stopped: Callable[[], bool]) -> bool:
    uploader = Uploader(event_log, start, server)
    try:
        _write_end(event_log, start)
        while not is_stopped() and uploader.send_next(retry_files=True):
            pass
    except RunGoneError:
        logger.warning(
            "tracking: an old run was deleted on its server; what was not sent lies in %s", event_log.give_up()
        )
        return True
    except Exception as error:  # noqa: BLE001 - kept, whatever MLflow stumbled over
        logger.warning("tracking: an old run stays in %s: %s", event_log.folder, error_message(error))
    if uploader.is_complete:
        logger.info("tracking: an old run of %s has been sent: %s", start.name, uploader.run_id)
        event_log.remove()
    else:
        event_log.let_go()
    return uploader.is_complete


def _write_end(event_log: EventLog, start: Start) -> None:
    """Write down the end that a killed process could not: when it last wrote something."""
    if not _has_end(event_log):
        last_ms = max(((written.event or {}).get("ms", 0) for written in event_log.events.read()), default=start.ms)
        event_log.events.append({"kind": "end", "ms": last_ms, "status": "KILLED", "killed_by": _gone(start.process)})


def _gone(process: Process) -> str:
    return f"unknown: process {process.pid} was gone when a later run looked"
