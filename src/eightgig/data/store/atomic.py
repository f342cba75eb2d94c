"""One writer at a time, and a file that is either whole or not there."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from eightgig.core.errors import StoreError
from eightgig.core.files import atomic_write

_WINNER_WAIT_S = 1.0


@contextmanager
def exclusive_replacement(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it replaces `path` in one step.

    After any failure `path` is what it was before. What a killed writer left is removed by the next one. The
    operating system drops a dead process's lock, so no lock is ever stale.

    Raises:
        StoreError: another process is writing the same file (it is named), or the folder cannot be written.
    """
    with exclusive(path):
        _remove_leftovers(path)
        with atomic_write(path) as temporary:
            temporary.touch()  # at once: its name tells a second writer who is at work
            yield temporary


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Let one process at a time into the block; the operating system drops a dead process's lock.

    Raises:
        StoreError: another process is writing the same file (it is named), or the folder cannot be written.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreError(
            f"{path}: wanted to write it, but {_winner(path)} is writing it now. Wait until that run ends, or give "
            "this run another output path."
        ) from None
    except OSError as error:
        raise StoreError(f"{path}: the folder cannot be written ({error}). Choose another folder.") from error
    try:
        yield
    finally:
        lock.release()


def _writers(path: Path) -> dict[int, Path]:
    """Find the temporary files of all writers, dead ones too, by process id."""
    start, end = f".{path.name}.", ".tmp"
    names = [p.name for p in path.parent.iterdir() if p.name.startswith(start) and p.name.endswith(end)]
    ids = {name[len(start) : -len(end)]: name for name in names}
    return {int(number): path.parent / name for number, name in ids.items() if number.isdigit()}


def _winner(path: Path) -> str:
    """Name the process that holds the lock; between its lock and its first file it has no name yet."""
    deadline = time.monotonic() + _WINNER_WAIT_S
    while time.monotonic() < deadline:
        for process_id in _writers(path):
            if process_id != os.getpid() and psutil.pid_exists(process_id):
                return f"process {process_id}"
        time.sleep(0.02)
    return "another process"


def _remove_leftovers(path: Path) -> None:
    for leftover in _writers(path).values():
        leftover.unlink(missing_ok=True)
