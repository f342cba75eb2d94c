"""One run's folder: its events, the files to be sent, how far sending got, and a lock that says who is at work."""

import logging
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout
from pydantic import ValidationError

from eightgig.core.files import write_text
from eightgig.core.records import Record
from eightgig.tracking.events import Event, EventFile, Start

logger = logging.getLogger(__name__)

_EVENTS, _PROGRESS, _FILES, _LOCK = "events.jsonl", "progress.json", "files", "owner.lock"
_GIVEN_UP = "given_up"
_COPIED_BYTES = 16 * 2**20
"""Up to this size a file is copied; a larger one is linked, which takes no time and no space."""


class Progress(Record):
    """How far sending got; what is sent again after a kill is what MLflow has acknowledged and this does not say yet.

    Attributes:
        run_id: MLflow's; None before the run is made there.
        offset: of the first event that was not acknowledged, in bytes.
        waiting: offsets of events before it whose files the server did not take so far.
        ended: the run's end was acknowledged.
    """

    run_id: str | None = None
    offset: int = 0
    waiting: tuple[int, ...] = ()
    ended: bool = False


class EventLog:
    """The folder of one run below the event log folder. Whoever holds it writes progress and may remove it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events = EventFile(folder / _EVENTS)
        self._lock = FileLock(folder / _LOCK, thread_local=False)

    @classmethod
    def create(cls, folder: Path, start: Start) -> Self:
        """Make a run's folder, held by this process, with its first event.

        Raises:
            OSError: the folder cannot be written.
        """
        folder.mkdir(parents=True, mode=0o700)  # what is tracked may be nobody else's business
        event_log = cls(folder)
        event_log._lock.acquire(timeout=0)
        event_log.events.path.touch(mode=0o600)
        event_log.events.append(start.model_dump())
        return event_log

    @property
    def name(self) -> str:
        """The folder's name, which is also the MLflow run's tag `mlflow.eightgig.spool_id`."""
        return self.folder.name

    def hold(self) -> bool:
        """Take the folder if no process has it: the operating system drops a dead process's lock."""
        try:
            self._lock.acquire(timeout=0)
        except (Timeout, OSError):
            return False
        if not self.events.path.exists():
            self.remove()  # its holder has just sent and removed it; taking the lock made the folder again
            return False
        return True

    def let_go(self) -> None:
        """Leave the folder to others."""
        self.events.close()
        self._lock.release()

    def start(self) -> Start | None:
        """Read the first event; None where it was never wholly written."""
        try:
            first = next(self.events.read(), None)
            return Start.model_validate(first.event) if first else None
        except (OSError, ValidationError):
            return None

    def progress(self) -> Progress:
        """Read how far sending got; from the beginning where that is not known."""
        try:
            return Progress.model_validate_json((self.folder / _PROGRESS).read_bytes())
        except (OSError, ValidationError):
            return Progress()

    def note(self, progress: Progress) -> None:
        """Write down how far sending got, in one step."""
        write_text(self.folder / _PROGRESS, progress.model_dump_json())

    def keep(self, path: Path, artifact_folder: str) -> Event:
        """Set a file or folder aside as it is now, since a next run writes over it; give the event that tells of it.

        Raises:
            OSError: it cannot be read, or there is no room.
        """
        place = self.folder / _FILES / uuid.uuid4().hex[:12]
        kept = (place / path.name).relative_to(self.folder).as_posix()
        place.parent.mkdir(exist_ok=True)  # the run's own folder is not made anew, where it was sent or given up
        try:
            linked = {file.relative_to(self.folder).as_posix(): _stamp(file) for file in _archive(path, place)}
        except OSError:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return {"kind": "file", "kept": kept, "folder": artifact_folder, "linked": linked, "source": str(path)}

    def kept(self, event: Event) -> Path | None:
        """Return the path to what was set aside; None where it has been written over since (only a link can be)."""
        for name, stamp in event["linked"].items():
            if not (self.folder / name).is_file() or _stamp(self.folder / name) != tuple(stamp):
                return None
        kept = self.folder / event["kept"]
        return kept if kept.exists() else None

    def forget(self, event: Event) -> None:
        """Remove a file that is sent."""
        shutil.rmtree((self.folder / event["kept"]).parent, ignore_errors=True)

    def remove(self) -> None:
        """Remove all, once it is sent."""
        self.events.close()
        self.events.path.unlink(missing_ok=True)  # first: without it a kill leaves nothing that is sent once more
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)  # Windows removes no file that is locked

    def give_up(self) -> Path:
        """Put all where nothing looks for it any more; give the place."""
        place = self.folder.parent / _GIVEN_UP / self.name
        self.events.close()
        self._lock.release()
        place.parent.mkdir(exist_ok=True)
        return self.folder.rename(place)


def new_spool_id() -> str:
    """Name a run: by its time, so that names sort by it, and by chance."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:12]}"


def event_logs_in(root: Path) -> list[EventLog]:
    """Return the runs that lie in the event log folder, the oldest first."""
    return [EventLog(path.parent) for path in sorted(root.glob(f"*/{_EVENTS}"))]


def _archive(path: Path, place: Path) -> list[Path]:
    """Put a file, or a folder's files, into `place`; give those that are links."""
    sources = [path] if path.is_file() else [source for source in path.rglob("*") if source.is_file()]
    if not sources:
        raise FileNotFoundError(f"{path}: there is no file to keep")
    pairs = [(source, place / source.relative_to(path.parent)) for source in sources]
    return [kept for source, kept in pairs if _copy_or_link(source, kept)]


def _copy_or_link(source: Path, kept: Path) -> bool:
    """Copy a small file, link a large one; say whether it is a link."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    if source.stat().st_size > _COPIED_BYTES:
        try:
            os.link(source, kept)
        except OSError:
            pass  # another disk, or one without links
        else:
            return True
    shutil.copyfile(source, kept)
    return False


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
