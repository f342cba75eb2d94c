"""Images read from top to bottom, some rows at a time, so that none need fit into memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.data.parameters import PILLOW_LIMIT_PIXELS
from eightgig.data.webp import NUM_HEADER_BYTES, canvas_size

Rows = NDArray[np.uint8]
"""RGB, rows x width x 3."""

_UPRIGHT = 1
_FORMATS, _MOST_CHANNELS = ("uchar", "ushort"), 4
_BYTES_AT_ONCE = 64 * 1024
# By name: libvips has others, for drawings that refer to other files and for tables of numbers.
_LOADERS = tuple(f"VipsForeignLoad{name}File".encode() for name in ("Tiff", "Png", "Jpeg", "Webp", "Nsgif", "Heif"))


class RowSource(Protocol):
    """An image whose rows are read in order, each once."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def height(self) -> int:
        """Pixels."""

    def read(self, top: int, bottom: int) -> Rows:
        """Give the rows from `top` to before `bottom`; `top` is where the last call ended."""


class ArraySource:
    """An image that is in memory already, uint8 height x width x 3."""

    def __init__(self, image_HWC: Rows) -> None:
        self.height, self.width = image_HWC.shape[:2]
        self._image_HWC = image_HWC

    def read(self, top: int, bottom: int) -> Rows:
        """Give the rows from `top` to before `bottom`."""
        return self._image_HWC[top:bottom]


class WatchedSource:
    """Another source, whose rows are shown to somebody on their way.

    Args:
        source: that is read.
        show: is given each piece of rows, from top to bottom.
    """

    def __init__(self, source: RowSource, show: Callable[[Rows], None]) -> None:
        self.width, self.height = source.width, source.height
        self._source, self._show = source, show

    def read(self, top: int, bottom: int) -> Rows:
        """Give the rows from `top` to before `bottom`."""
        rows = self._source.read(top, bottom)
        self._show(rows)
        return rows


@contextmanager
def open_source(path: Path, *, max_pixels: int) -> Iterator[RowSource]:
    """Open a TIFF, PNG, JPEG, WebP, GIF, HEIF or BMP: RGB, 8 bits, upright; of a TIFF the first page.

    Memory does not grow with the height. Formats that cannot be read from top to bottom (a turned photo, an interlaced
    PNG) are unpacked by libvips, on disk where they are large; those that only Pillow knows, in memory.

    Raises:
        DataError: no such file, no image, damaged (then while it is read), or more than `max_pixels`.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Name an image.")
    with path.open("rb") as file:
        size = canvas_size(file.read(NUM_HEADER_BYTES))
    if size:  # opening a WebP already makes room for it
        _refuse_size(path, *size, max_pixels)
    yield _VipsSource(path, max_pixels) if _vips_reads(path) else _in_memory(path, max_pixels)


def _vips_reads(path: Path) -> bool:
    try:
        import pyvips
    except (ImportError, OSError):  # a wheel is missing for some systems
        return False
    found = pyvips.vips_lib.vips_foreign_find_load(str(path).encode())
    return found != pyvips.ffi.NULL and pyvips.ffi.string(found).startswith(_LOADERS)


def _in_memory(path: Path, max_pixels: int) -> ArraySource:
    from eightgig.data.images import decode_rgb

    try:
        return ArraySource(decode_rgb(path.read_bytes(), max_pixels=min(max_pixels, PILLOW_LIMIT_PIXELS)))
    except ImageRejectedError as error:
        raise DataError(
            f"{path}: wanted an image, but it cannot be read ({error.detail}). Replace the file, or save it as TIFF."
        ) from error


class _VipsSource:
    def __init__(self, path: Path, max_pixels: int) -> None:
        import pyvips

        self._path, self._error, self._next = path, pyvips.Error, 0
        try:
            image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="error")
            _refuse_size(path, image.width, image.height, max_pixels)
            _refuse_kind(path, image.format, image.bands)
            if image.get_typeof("orientation") and image.get("orientation") != _UPRIGHT:
                image = pyvips.Image.new_from_file(str(path), access="random", fail_on="error").autorot()
            self._region = pyvips.Region.new(_as_rgb(image))
        except pyvips.Error as error:
            raise self._refusal(error) from error
        self.width, self.height = image.width, image.height

    def read(self, top: int, bottom: int) -> Rows:
        """Give the rows from `top` to before `bottom`."""
        rows_RWC = np.empty((bottom - top, self.width, 3), dtype=np.uint8)
        # libvips keeps what it hands out for a while: in small pieces that does not grow with the image.
        step = max(1, _BYTES_AT_ONCE // (3 * self.width))
        for self._next in range(top, bottom, step):
            count = min(step, bottom - self._next)
            try:
                data = self._region.fetch(0, self._next, self.width, count)
            except self._error as error:
                raise self._refusal(error) from error
            piece_RWC = np.frombuffer(data, np.uint8).reshape(count, self.width, 3)
            rows_RWC[self._next - top : self._next - top + count] = piece_RWC
        return rows_RWC

    def _refusal(self, error: Exception) -> DataError:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else "no reason given"
        at = f" at row {self._next:,}" if self._next else ""
        return DataError(f"{self._path}: wanted an image, but it cannot be read{at} ({reason}). Replace the file.")


def _as_rgb(image: Any) -> Any:
    if image.hasalpha():
        image = image.flatten(background=[_white(image)])
    if image.interpretation != "srgb" or image.bands != 3:
        image = image.colourspace("srgb")
    return image if image.format == "uchar" else image.cast("uchar")


def _white(image: Any) -> int:
    return 65535 if image.format == "ushort" else 255


def _refuse_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise DataError(
            f"{path}: {width:,} x {height:,} pixels; at most {max_pixels:,} are read. Raise tiles.max_pixels to "
            "read it all the same."
        )


def _refuse_kind(path: Path, number_format: str, num_channels: int) -> None:
    if number_format not in _FORMATS or num_channels > _MOST_CHANNELS:
        raise DataError(
            f"{path}: wanted 8 or 16 bits in 1 to {_MOST_CHANNELS} channels, found numbers of the kind "
            f"`{number_format}` in {num_channels}. Convert it to an RGB image of 8 bits."
        )
