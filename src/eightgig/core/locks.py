"""One process at a time: the operating system drops a dead process's lock, so none is ever stale."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from eightgig.core.errors import BusyError
from eightgig.core.files import write_text

_PATIENCE_S = 30.0
_LOOK_S = 0.2


@contextmanager
def only_one(path: Path, what: str, *, patience_s: float = _PATIENCE_S) -> Iterator[None]:
    """Let one process at a time into the block; a second one is refused at once, with the number of the first.

    The loader processes of a run that was killed hold its lock until they notice, for some seconds: these are waited
    for.

    Args:
        path: of the lock; beside it, `PATH.pid` says who holds it.
        what: is being done, for a person: `flower_classifier is being run in data/`.
        patience_s: how long what a dead process has left behind is waited for.

    Raises:
        BusyError: another process is inside.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(path), path.with_name(f"{path.name}.pid")
    _acquire(lock, holder, what, time.monotonic() + patience_s)
    try:
        write_text(holder, f"{os.getpid()}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, holder: Path, what: str, until: float) -> None:
    while True:
        try:
            lock.acquire(timeout=_LOOK_S)
        except Timeout:
            process = _process_in(holder)
            is_alive = process is not None and psutil.pid_exists(process)
            if is_alive or time.monotonic() > until:
                who = f"process {process}" if process is not None else "another process"
                raise BusyError(
                    f"{what} by {who} already. Wait until that one ends, or stop it (kill {process or 'PID'}); another "
                    "folder for all files can be named with EIGHTGIG_DATA."
                ) from None
        else:
            return


def _process_in(holder: Path) -> int | None:
    try:
        return int(holder.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
