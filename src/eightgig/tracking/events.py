"""What is written down of a run, one JSON line an event."""

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from eightgig.core.records import Record
from eightgig.tracking.process import Process

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
Event = Mapping[str, Any]


class Start(Record):
    """The first event: all it takes to make the MLflow run, now or by another process later.

    Attributes:
        uri: the server, without user name and password.
        artifact_location: for a new experiment; None leaves it to the server.
        ms: milliseconds since 1970, as MLflow counts.
    """

    kind: Literal["start"] = "start"
    spool_id: str
    uri: str
    experiment: str
    artifact_location: str | None
    name: str
    tags: dict[str, str]
    process: Process
    ms: int


class LoggedDataset(Record):
    """Data that a run takes, told by name and hash; the data itself stays where it is.

    Attributes:
        name: for a person.
        sha256: of the content.
        source: the folder or file that it came from.
        num_samples: how many.
        context: what the run takes it for.
    """

    name: str
    sha256: str
    source: str
    num_samples: int
    context: str = "training"


class LoggedModel(Record):
    """A network that a run made, in one form; its file is set aside with the event.

    Attributes:
        name: of the form.
        model_type: what runs it.
        params: what it is.
        metrics: what was measured of it.
    """

    name: str
    model_type: str
    params: dict[str, str]
    metrics: dict[str, float]


class Written(NamedTuple):
    """An event as it lies in the file.

    Attributes:
        event: None for a line that is not whole, as a kill leaves it.
        begin: where its line begins, in bytes.
        end: where the next one begins.
    """

    event: Event | None
    begin: int
    end: int


class EventFile:
    """A file of events that only grows; another process may append to it too (copies and pickles name the same file).

    Each event is one write to the system, so a kill of this process loses none. A line begins and ends with a newline:
    one that was cut short spoils itself alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock, self._handle = threading.Lock(), -1

    def append(self, event: Event) -> None:
        """Write one event down.

        Raises:
            OSError: the disk is full, or the file has gone (its run is over and sent).
        """
        line = f"\n{json.dumps(event, separators=(',', ':'))}\n".encode()
        with self._lock:
            if self._handle < 0:
                flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
                self._handle = os.open(self.path, flags)  # not made here: a late figure must not begin a new run
            if os.write(self._handle, line) < len(line):
                raise OSError(f"{self.path}: the disk is full")

    def read(self, begin: int = 0) -> Iterator[Written]:
        """Yield the events from `begin` on that are whole by now, and lines that never will be."""
        with self.path.open("rb") as file:
            file.seek(begin)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                end = begin + len(line)
                if line != b"\n":
                    yield Written(_parsed(line), begin, end)
                begin = end

    def flush(self) -> None:
        """Make what is written last through a power cut; takes milliseconds, so not for the training thread."""
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the file; a later append opens it anew."""
        with self._lock:
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1

    def __reduce__(self) -> tuple[type["EventFile"], tuple[Path]]:
        return EventFile, (self.path,)


def _parsed(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        logger.warning("tracking: a line that was cut short is left out: %.60r", line)
        return None
    return event
