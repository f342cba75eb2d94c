"""The disk under the data folder: its kind, as far as the system tells, and its space."""

import re
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from eightgig.core.records import Record

DiskKind = Literal["NVMe", "SSD", "hard disk", "virtual disk", "network drive", "Windows drive", "memory"]

_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "glusterfs", "beegfs", "fuse.sshfs", "afs")
_WINDOWS = ("9p", "drvfs", "virtiofs")  # how WSL mounts C: and the others
# A virtual disk calls itself rotating whatever lies behind it.
_VIRTUAL_NAMES = ("vd", "xvd", "rbd", "nbd")
_VIRTUAL_VENDORS = ("qemu", "vmware", "msft", "vbox", "google", "xen")


class Disk(Record):
    """The disk that holds the data folder; None is what could not be read."""

    folder: str
    total_bytes: int | None = None
    free_bytes: int | None = None
    file_system: str | None = None
    device: str | None = None
    kind: DiskKind | None = None


class _Mount(NamedTuple):
    device_number: str
    point: str
    file_system: str
    source: str


def read_disk(folder: Path, *, proc_root: Path = Path("/proc"), sys_root: Path = Path("/sys")) -> Disk:
    """Return kind and space of the disk that holds `folder`, or will hold it once it exists."""
    place = _existing(folder)
    try:
        usage = psutil.disk_usage(str(place))
    except OSError:
        return Disk(folder=str(folder))
    space = {"total_bytes": usage.total, "free_bytes": usage.free}
    mount = _mount_of(place, proc_root / "self" / "mountinfo")
    if mount is None:
        return Disk(folder=str(folder), **space)
    block = _block_device(mount, sys_root)
    return Disk(
        folder=str(folder),
        file_system=mount.file_system,
        device=block and block.name,
        kind=_kind(mount, block, in_wsl=_in_wsl(proc_root)),
        **space,
    )


def _existing(folder: Path) -> Path:
    resolved = folder.resolve()
    return next(place for place in (resolved, *resolved.parents) if place.exists())


def _mount_of(place: Path, mountinfo: Path) -> _Mount | None:
    """Return the mount with the longest path above `place`; of two at one point, the later hides the earlier."""
    best: _Mount | None = None
    for mount in _mounts(mountinfo):
        inside = Path(mount.point) == place or Path(mount.point) in place.parents
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _mounts(mountinfo: Path) -> list[_Mount]:
    """Read `/proc/self/mountinfo`; its form is in proc_pid_mountinfo(5)."""
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    mounts = []
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) > 4 and len(kind) > 1:
            mounts.append(_Mount(fields[2], _plain(fields[4]), kind[0], _plain(kind[1])))
    return mounts


def _plain(escaped: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), escaped)


def _block_device(mount: _Mount, sys_root: Path) -> Path | None:
    """Return the disk's folder below /sys; of an encrypted or joined volume, that of the first disk below it."""
    links = [sys_root / "dev" / "block" / mount.device_number]
    if mount.source.startswith("/dev/"):  # btrfs and zfs mounts have a number of their own
        links.append(sys_root / "class" / "block" / Path(mount.source).resolve().name)
    found = next((link.resolve() for link in links if link.exists()), None)
    while found is not None and (below := sorted((found / "slaves").glob("*"))):
        found = below[0].resolve()
    if found is not None and (found / "partition").exists():
        return found.parent
    return found


def _kind(mount: _Mount, block: Path | None, *, in_wsl: bool) -> DiskKind | None:
    if mount.file_system in ("tmpfs", "ramfs"):
        return "memory"
    if in_wsl and mount.file_system in _WINDOWS:
        return "Windows drive"
    if mount.file_system in (*_NETWORK, *_WINDOWS):
        return "network drive"
    return None if block is None else _block_kind(block)


def _block_kind(block: Path) -> DiskKind | None:
    if block.name.startswith("nvme"):
        return "NVMe"
    vendor = _first_line(block / "device" / "vendor").lower()
    if block.name.startswith(_VIRTUAL_NAMES) or vendor.startswith(_VIRTUAL_VENDORS):
        return "virtual disk"
    kinds: dict[str, DiskKind] = {"0": "SSD", "1": "hard disk"}
    return kinds.get(_first_line(block / "queue" / "rotational"))


def _in_wsl(proc_root: Path) -> bool:
    return "microsoft" in _first_line(proc_root / "version").lower()


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""
