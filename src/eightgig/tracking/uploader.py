"""From an event log to its server, in order and piece by piece; each piece that is acknowledged is noted."""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eightgig.tracking.event_log import EventLog, Progress
from eightgig.tracking.events import Event, LoggedDataset, LoggedModel, Start, Written
from eightgig.tracking.server import Entry, RefusedError, RunGoneError, TrackingServer, error_message

logger = logging.getLogger(__name__)

_BATCH_ENTRIES = 1000  # MLflow takes no more at once
_SLOWEST_UPLOAD = 1e6  # bytes a second
_NAMED = 8
_ALONE = ("file", "model", "dataset", "end")
"""Kinds of events that are a request of their own."""


class Uploader:
    """Sends what an event log holds. Not for two threads at once; the event log is held by this process.

    Attributes:
        server: where it goes.
        expected_by: when the piece in hand ought to be acknowledged, on the monotonic clock; after it, when it was.
        is_complete: the run has ended and all of it is sent.
    """

    def __init__(self, event_log: EventLog, start: Start, server: TrackingServer) -> None:
        self._event_log, self._start, self.server = event_log, start, server
        self._progress = event_log.progress()
        self.expected_by = 0.0
        self.is_complete = False

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run, once it is made there."""
        return self._progress.run_id

    def send_next(self, *, retry_files: bool) -> bool:
        """Send the next piece; False when all that is written by now has been sent.

        Args:
            retry_files: also try those again that the server could not store before.

        Raises:
            RunGoneError: the run was deleted on the server.
            Exception: whatever MLflow raises when the server does not answer; the same piece comes next again.
        """
        self.expected_by = math.inf if self.server.is_local else 0.0
        sent = False
        try:
            sent = self._send_new() or (retry_files and self._send_waiting_file())
        finally:
            self.expected_by = time.monotonic() if sent else 0.0
            self.is_complete = self._progress.ended and not self._progress.waiting
        return sent

    def num_left(self) -> int:
        """Count the events that are not sent."""
        return sum(1 for _ in self._event_log.events.read(self._progress.offset)) + len(self._progress.waiting)

    def _send_new(self) -> bool:
        if self._progress.run_id is None:
            self._note(run_id=self.server.find_or_create_run(self._start))
            return True
        written = next(self._event_log.events.read(self._progress.offset), None)
        if written is None:
            return False
        match (written.event or {}).get("kind"):
            case "file" | "model":
                self._send_new_file(written)
            case "dataset":
                self._send_dataset(written)
            case "end":
                self._end(written)
            case _:
                self._send_batch()
        return True

    def _send_batch(self) -> None:
        """Send figures, parameters and tags up to the next event of another kind."""
        entries: list[Entry] = []
        end = self._progress.offset
        for written in self._event_log.events.read(end):
            event = written.event or {}
            if event.get("kind") in _ALONE or len(entries) >= _BATCH_ENTRIES:
                break
            entries.extend(_entries(event))
            end = written.end
        refused = list(self._refused(entries)) if entries else []
        if refused:
            _say_refused(refused)
        self._note(offset=end)

    def _refused(self, entries: list[Entry]) -> Iterator[tuple[Entry, str]]:
        """Send all that the server takes; yield each that it does not, found by halving, with its error_message."""
        try:
            self.server.send(self._run_id, entries)
        except RefusedError as refusal:
            if len(entries) == 1:
                self.server.check(self._run_id)  # whatever stands before the server may refuse all and everything
                yield entries[0], str(refusal)
                return
            middle = len(entries) // 2
            yield from self._refused(entries[:middle])
            yield from self._refused(entries[middle:])

    def _send_dataset(self, written: Written) -> None:
        event: Mapping[str, Any] = written.event or {}
        dataset = LoggedDataset.model_validate(event["dataset"])
        try:
            self.server.log_dataset(self._run_id, dataset)
        except RefusedError as refusal:
            self.server.check(self._run_id)
            logger.warning("tracking: MLflow refused the data set %s: %s", dataset.name, refusal)
        self._note(offset=written.end)

    def _send_new_file(self, written: Written) -> None:
        """Send a file; one that the server cannot store now must not hold up what comes after it."""
        try:
            self._upload(written.event or {})
        except RunGoneError:
            raise
        except Exception as error:  # noqa: BLE001 - each artifact store has errors of its own
            self.server.check(self._run_id)  # raises when it is the server that is away, and not its disk
            logger.warning("tracking: a file is not stored now, and tried again at the end: %s", error_message(error))
            self._note(offset=written.end, waiting=(*self._progress.waiting, written.begin))
            return
        self._note(offset=written.end)
        self._event_log.forget(written.event or {})

    def _send_waiting_file(self) -> bool:
        if not self._progress.waiting:
            return False
        begin, *others = self._progress.waiting
        event = next(self._event_log.events.read(begin)).event or {}
        try:
            self._upload(event)
        except Exception:
            self._note(waiting=(*others, begin))
            raise
        self._note(waiting=tuple(others))
        self._event_log.forget(event)
        return True

    def _upload(self, event: Event) -> None:
        path = self._event_log.kept(event)
        if path is None:
            logger.warning("tracking: %s was written over before it was sent; it is left out", event["source"])
            return
        if not self.server.is_local:
            self.expected_by = time.monotonic() + _num_bytes(path) / _SLOWEST_UPLOAD
        try:
            if event["kind"] == "model":
                self.server.log_model(self._run_id, LoggedModel.model_validate(event["model"]), path, event["ms"])
            else:
                self.server.upload(self._run_id, path, event["folder"])
        except RefusedError as refusal:
            self.server.check(self._run_id)
            logger.warning("tracking: MLflow refused %s: %s", event["source"], refusal)

    def _end(self, written: Written) -> None:
        event: Mapping[str, Any] = written.event or {}
        page = self.server.end(self._run_id, self._start, event["status"], event["ms"], event.get("killed_by"))
        self._note(offset=written.end, ended=True)
        logger.info("tracking: %s%s", "`mlflow ui` shows this run at " if self.server.is_local else "", page)

    @property
    def _run_id(self) -> str:
        return self._progress.run_id or ""

    def _note(self, **changed: Any) -> None:
        self._progress = Progress.model_validate(self._progress.model_dump() | changed)
        self._event_log.note(self._progress)


def _entries(event: Event) -> Iterator[Entry]:
    kind, ms, step = event.get("kind", ""), event.get("ms", 0), event.get("step") or 0
    if kind in ("metrics", "params", "tags"):
        for name, value in event[kind].items():
            yield Entry(kind, name, value, ms, step)


def _say_refused(refused: list[tuple[Entry, str]]) -> None:
    names = ", ".join(entry.name for entry, _ in refused[:_NAMED])
    more = f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
    logger.warning("tracking: MLflow refused %s%s; left out. Its error_message: %s", names, more, refused[0][1])


def _num_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
