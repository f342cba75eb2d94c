"""Arrays in files that have no name and vanish with the process; memory does not hold them.

They are read and written by plain calls: what is mapped into memory would count as this process's own.
"""

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from eightgig.core.errors import DataError
from eightgig.core.units import format_bytes

Pixels = npt.NDArray[np.uint8]


def require_space(folder: Path, num_bytes: int, purpose: str) -> None:
    """Refuse to begin what would not fit on the disk.

    Raises:
        DataError: fewer bytes are free in `folder`.
    """
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise DataError(
            f"{folder}: {purpose} needs {format_bytes(num_bytes)}, but only {format_bytes(free)} are free. Free some, "
            "or choose another folder."
        )


class _Scratch:
    """A file without a name in `folder`; leave it by its `with` block."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by __exit__

    def _read(self, offset: int, array: npt.NDArray[Any]) -> None:
        self._file.seek(offset)
        view = memoryview(array.data).cast("B")
        while view:
            count = self._file.readinto(view)
            if not count:
                raise EOFError(f"{len(view)} bytes at {offset} were never written")
            view = view[count:]

    def _write(self, offset: int, array: npt.NDArray[Any]) -> None:
        self._file.seek(offset)
        view = memoryview(np.ascontiguousarray(array).data).cast("B")
        while view:
            view = view[self._file.write(view) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class RowRing(_Scratch):
    """The last `num_rows` rows of an image, uint8, `width` x `channels`: later rows take the place of earlier ones."""

    def __init__(self, folder: Path, num_rows: int, width: int, channels: int) -> None:
        super().__init__(folder)
        self._num_rows, self._width, self._channels = num_rows, width, channels

    def write(self, top: int, left: int, pixels_RWC: Pixels) -> None:
        """Keep a part of the image whose first pixel is (`top`, `left`)."""
        for place, row_WC in enumerate(pixels_RWC):
            self._write(self._offset(top + place, left), row_WC)

    def read(self, rows: tuple[int, int], columns: tuple[int, int]) -> Pixels:
        """Return the part between two rows and two columns, R x W x channels."""
        part_RWC = np.empty((rows[1] - rows[0], columns[1] - columns[0], self._channels), dtype=np.uint8)
        for place, row_WC in enumerate(part_RWC):
            self._read(self._offset(rows[0] + place, columns[0]), row_WC)
        return part_RWC

    def _offset(self, row: int, column: int) -> int:
        return (row % self._num_rows * self._width + column) * self._channels


class Slots(_Scratch):
    """Numbered places for float32 arrays of at most `most_values` values."""

    def __init__(self, folder: Path, most_values: int) -> None:
        super().__init__(folder)
        self._size = most_values * np.dtype(np.float32).itemsize

    def write(self, slot: int, values: npt.NDArray[np.float32]) -> None:
        """Keep an array in the place of the one before it."""
        self._write(slot * self._size, values)

    def read(self, slot: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Return what was written last."""
        values = np.empty(shape, dtype=np.float32)
        self._read(slot * self._size, values)
        return values
