"""Files that are either whole or not there: written under a temporary name, flushed, renamed; alone or in pairs."""

import glob
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import psutil

from eightgig.core.units import format_bytes


def data_folder() -> Path:
    """Return the folder that runs read and write, from the project's; the environment's EIGHTGIG_DATA wins."""
    return Path(os.environ.get("EIGHTGIG_DATA", "data"))


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; when the block ends well, it becomes `target` in one step.

    A reader sees the old file or the new one, never a part. When the block raises, the temporary file is removed and
    `target` is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _flush_file(temporary)
        temporary.replace(target)
        _flush_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(target: Path, content: bytes) -> None:
    """Write `content` to `target` atomically."""
    with atomic_write(target) as temporary:
        temporary.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    """Write `content` to `target` atomically, as UTF-8 with plain line ends."""
    write_bytes(target, content.encode("utf-8"))


def space_shortage(path: Path, num_bytes: int, *, largest_file: int | None = None) -> str | None:
    """Return what keeps `num_bytes` from being written to `path`; None where nothing does.

    Looks at the disk, and at any limit on the size of one file; the folder is made where it is missing.

    Args:
        path: of the file.
        num_bytes: that are needed on the disk.
        largest_file: of these, the most in one file; None means that all are in one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < num_bytes:
        return f"only {free} bytes ({format_bytes(free)}) are free in {path.parent}"
    try:
        with TemporaryFile(dir=path.parent) as file:  # without a name, so that a kill leaves none
            file.truncate(num_bytes if largest_file is None else largest_file)  # takes no space
    except OSError as error:
        return f"a file of that size is refused in {path.parent} ({error.strerror}; see ulimit -f)"
    return None


def sha256_of(content: bytes) -> str:
    """Return the hexadecimal SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def _remove_leftovers(target: Path) -> None:
    """Remove what killed writers of this file have left; a living one's is left alone."""
    for path in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        writer = path.name.removesuffix(".tmp").rpartition(".")[2]
        if writer.isdigit() and not psutil.pid_exists(int(writer)):
            path.unlink(missing_ok=True)


def _flush_file(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the new name last through a power cut; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_checksummed(path: Path, content: bytes, voucher: Path, text: str) -> None:
    """Write a file and the small text beside it that vouches for it; a kill leaves the older pair or the newer one.

    Two files cannot be replaced in one step. So the new text first waits beside the old one; then the file is replaced,
    and then the text. Whoever reads takes the one of the two texts that fits the file.

    Args:
        path: of the file.
        content: likewise.
        voucher: where the text goes.
        text: it must tell, such as by a hash, which file it is of.
    """
    write_text(waiting_checksum(voucher), text)
    write_bytes(path, content)
    write_text(voucher, text)
    waiting_checksum(voucher).unlink(missing_ok=True)


def waiting_checksum(voucher: Path) -> Path:
    """Return where a voucher waits until its file is there."""
    return voucher.with_name(f".{voucher.name}.next")


def has_checksum(voucher: Path) -> bool:
    """Tell whether there is any text that may vouch for the file."""
    return voucher.is_file() or waiting_checksum(voucher).is_file()


def read_checksums(voucher: Path) -> list[str]:
    """Return the texts that may vouch for the file, the present one first.

    Raises:
        FileNotFoundError: there is none.
        UnicodeDecodeError: one is damaged.
    """
    found = [path for path in (voucher, waiting_checksum(voucher)) if path.is_file()]
    return [path.read_text(encoding="utf-8") for path in found or [voucher]]
