"""The machine around the card: system, cores, memory, shared memory, limits."""

import os
import platform
import sys
from pathlib import Path

import psutil

from eightgig.core.device import loader_processes, usable_cores
from eightgig.core.records import Record
from eightgig.core.spilling import tells_wsl

_PROC = Path("/proc")
_SYS = Path("/sys")
_NVIDIA = "0x10de"  # the PCI vendor; class 0x03 is a display controller
_V1_NO_LIMIT = 1 << 60  # cgroup v1 writes "no limit" as a number near 2^63


class Host(Record):
    """What a run finds around the card; None is what could not be read.

    Attributes:
        nvidia_on_bus: whether a card is built in, driver or not; None where the bus cannot be listed (Windows, WSL).
        cores: those this process may be scheduled on.
        quota_cores: processor time that a container allows, in cores; None is no limit.
        loader_workers: processes that load data when `num_workers` is `auto`.
        memory_limit_bytes: what a container allows of the memory; None is no limit.
        shm_free_bytes: of /dev/shm, through which loader processes hand over batches; None where there is none.
        open_files: how many files the process may hold open; None on Windows.
        omp_threads: OMP_NUM_THREADS as it is set.
    """

    system: str
    is_wsl: bool = False
    is_container: bool = False
    nvidia_on_bus: bool | None = None
    cores: int
    quota_cores: float | None = None
    loader_workers: int = 0
    memory_bytes: int | None = None
    memory_available_bytes: int | None = None
    memory_limit_bytes: int | None = None
    shm_bytes: int | None = None
    shm_free_bytes: int | None = None
    open_files: int | None = None
    omp_threads: str | None = None

    @property
    def usable_cores(self) -> float:
        """Cores that can really work at once."""
        return min(self.cores, self.quota_cores or self.cores)

    @property
    def usable_memory_bytes(self) -> int | None:
        """Memory that this process may fill."""
        known = [size for size in (self.memory_bytes, self.memory_limit_bytes) if size is not None]
        return min(known, default=None)


def read_host() -> Host:
    """Return what this machine offers to loading and training."""
    memory = psutil.virtual_memory()
    shm = _space(Path("/dev/shm"))  # noqa: S108 - the place itself is asked for
    quota, limit = read_limits(_PROC, _SYS / "fs" / "cgroup")
    return Host(
        system=platform.system(),
        is_wsl=tells_wsl(_text(_PROC / "version")),
        is_container=_is_container(),
        nvidia_on_bus=finds_nvidia(_SYS),
        cores=usable_cores(),
        quota_cores=quota,
        loader_workers=loader_processes("auto"),
        memory_bytes=memory.total,
        memory_available_bytes=memory.available,
        memory_limit_bytes=limit if limit is not None and limit < memory.total else None,
        shm_bytes=shm and shm[0],
        shm_free_bytes=shm and shm[1],
        open_files=_open_files(),
        omp_threads=os.environ.get("OMP_NUM_THREADS"),
    )


def finds_nvidia(sys_root: Path) -> bool | None:
    """Tell whether an NVIDIA card is built in, with or without a driver; None where the bus cannot be listed."""
    devices = sorted((sys_root / "bus" / "pci" / "devices").glob("*"))
    if not devices:
        return None
    return any(
        (_text(device / "vendor") or "").strip() == _NVIDIA and (_text(device / "class") or "").startswith("0x03")
        for device in devices
    )


def read_limits(proc_root: Path, cgroup_root: Path) -> tuple[float | None, int | None]:
    """Return what a container allows: processor time in cores, and memory in bytes; None is no limit.

    A limit may sit on any group above the process's own, so all of them are asked. Source: Linux kernel documentation,
    cgroup-v2 (cpu.max, memory.max) and cgroup-v1 (cpu.cfs_quota_us, memory.limit_in_bytes).
    """
    cores: list[float] = []
    sizes: list[int] = []
    for line in (_text(proc_root / "self" / "cgroup") or "").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        for folder in _groups(cgroup_root / controllers.split("=")[-1], path):
            cores += _quota(folder)
            sizes += _numbers(_text(folder / "memory.max"))
            sizes += [size for size in _numbers(_text(folder / "memory.limit_in_bytes")) if size < _V1_NO_LIMIT]
    return min(cores, default=None), min(sizes, default=None)


def _groups(base: Path, path: str) -> list[Path]:
    """Return the folders of a group and of all above it; inside a container the path may not exist, its base does."""
    own = base / path.strip("/")
    return [folder for folder in (own, *own.parents) if folder == base or base in folder.parents]


def _quota(folder: Path) -> list[float]:
    newer = (_text(folder / "cpu.max") or "").split()  # "200000 100000" or "max 100000"
    older = [_text(folder / f"cpu.cfs_{part}_us") or "" for part in ("quota", "period")]
    pair = [int(word) for word in newer or older if word.strip().isdigit()]  # -1 and max are no limit
    return [pair[0] / pair[1]] if len(pair) == 2 and pair[1] > 0 else []


def _numbers(text: str | None) -> list[int]:
    return [int(text)] if text is not None and text.strip().isdigit() else []


def _is_container() -> bool:
    marks = (Path("/.dockerenv"), Path("/run/.containerenv"))
    return any(mark.exists() for mark in marks) or "KUBERNETES_SERVICE_HOST" in os.environ


def _space(folder: Path) -> tuple[int, int] | None:
    try:
        usage = psutil.disk_usage(str(folder))
    except OSError:
        return None
    return usage.total, usage.free


def _open_files() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
