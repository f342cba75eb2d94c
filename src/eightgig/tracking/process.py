"""Which process a run belongs to, so that a later one can tell whether it is still there."""

import hashlib
import os
import socket
import sys
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Self

import psutil

from eightgig.core.records import Record


class Process(Record):
    """A process that nothing else can be taken for.

    Attributes:
        host: the machine, and within it the room that process numbers are counted in: each container is one of its own.
        pid: the process's number, which another process may get later.
        started: when it began, as its system tells it; two processes with one number differ in this.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Self:
        """Return this process."""
        return cls(host=this_host(), pid=os.getpid(), started=_started(os.getpid()) or "")

    def is_gone(self) -> bool:
        """Return whether it has surely ended; False where that cannot be known, as for another host's."""
        if self.host != this_host():
            return False
        if not psutil.pid_exists(self.pid):
            return True
        try:
            return _started(self.pid) != self.started
        except (OSError, psutil.AccessDenied):
            return False  # it is there, and hides when it began


@lru_cache(maxsize=1)
def this_host() -> str:
    """Name this machine: by its network name, and by a hash that tells two machines of one name apart."""
    where = f"{_machine()} {_room_of_process_numbers()}"
    return f"{socket.gethostname()}-{hashlib.sha256(where.encode()).hexdigest()[:8]}"


def _machine() -> str:
    try:
        return Path("/etc/machine-id").read_text(encoding="utf-8").strip() or hex(uuid.getnode())
    except OSError:
        return hex(uuid.getnode())


def _room_of_process_numbers() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _started(pid: int) -> str | None:
    """Tell when a process began; None when it has ended.

    On Linux in clock ticks since the boot, not by the clock: a clock that is set (after a laptop's sleep) would make a
    living process look like another one.
    """
    if sys.platform != "linux":
        try:
            return f"{psutil.Process(pid).create_time():.3f}"
        except psutil.NoSuchProcess:
            return None
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{_boot()}:{fields[19]}"


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
