"""HDF5 files that a full disk cannot turn into a crash, nor a changed bit into a hang.

HDF5 (tried: 2.0) cannot close a file of which the system refused one write: it raises at odd places, and ends the
interpreter with a segmentation fault at exit. So no write of its is ever refused: it writes through a Python file that
keeps the first refusal to itself, drops what comes after it, and tells when the file is closed.

It also follows whatever stands in a file. From the format of its version 1.10 on, all of its own structures have
checksums, but for the heap in which texts of any length lie: one changed bit there made it read for ever. So texts are
written with a fixed length, and `foreign_hdf5` refuses others.
"""

import os
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

_CHECKSUMMED = ("v110", "v110")


class WriteRefusedError(OSError):
    """The system refused to write: the disk is full, or the file too large."""


class HDF5Output(h5py.File):
    """An HDF5 file to be written; use it by its `with` block, under a name that nobody reads yet.

    Args:
        path: of the file.
        mode: `w` makes it anew, `r+` changes what is there.

    Raises:
        WriteRefusedError: on leaving the block, or by `require_written` before. What is at `path` then is no HDF5 file.
    """

    def __init__(self, path: Path, mode: str = "w") -> None:
        self._patient = _PatientFile(path, mode)
        super().__init__(self._patient, mode, libver=_CHECKSUMMED)

    def set_texts(self, **attributes: str) -> None:
        """Set attributes that are texts."""
        for name, text in attributes.items():
            value = fixed_texts([text])
            self.attrs.create(name, value[0], dtype=value.dtype)

    def require_written(self) -> None:
        """Raise what was refused so far, so that long work does not go on for nothing."""
        if refusal := self._patient.refusal:
            raise WriteRefusedError(refusal.errno, refusal.strerror) from refusal

    def close(self) -> None:
        """Close the file; raise what was refused."""
        try:
            super().close()
        finally:
            self._patient.close()
        self.require_written()


def fixed_texts(texts: Sequence[str]) -> npt.NDArray[np.bytes_]:
    """Return texts as a column for a dataset, each as long as the longest."""
    encoded = [text.encode() for text in texts]
    return np.array(encoded, dtype=h5py.string_dtype(length=max([1, *map(len, encoded)])))


def text_attribute(file: h5py.File, name: str) -> str:
    """Return an attribute as text, whichever way it was written; empty where there is none."""
    value = file.attrs.get(name, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class _PatientFile:
    """What h5py needs of a file; `refusal` is the first error of the system, after which nothing is written."""

    def __init__(self, path: Path, mode: str) -> None:
        self._file = FileIO(path, {"w": "w+"}.get(mode, mode))
        self.refusal: OSError | None = None

    def write(self, data: memoryview) -> int:
        rest = memoryview(data)
        try:
            while rest and self.refusal is None:
                rest = rest[self._file.write(rest) :]  # a disk that is nearly full takes a part
        except OSError as error:
            self.refusal = error
        return len(data)

    def truncate(self, size: int) -> int:
        try:
            if self.refusal is None:
                self._file.truncate(size)
        except OSError as error:
            self.refusal = error
        return size

    def read(self, size: int) -> bytes:
        return self._file.read(size) or b""

    def readinto(self, buffer: memoryview) -> int:
        return self._file.readinto(buffer) or 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        """Nothing waits: the file is not buffered."""

    def close(self) -> None:
        self._file.close()
