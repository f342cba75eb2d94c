"""Images read from top to bottom, some rows at a time, so that none need fit into memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.data.images.exif import UPRIGHT
from eightgig.data.images.parameters import PILLOW_LIMIT_PIXELS
from eightgig.data.images.tiff import read_tiff
from eightgig.data.images.webp import NUM_HEADER_BYTES, canvas_size
from eightgig.tiles.bands import AS_THE_FILE_SAYS, BandsError, Wanted, plan_bands, refuse_kind, to_rgb
from eightgig.tiles.whole_files import whole_file

Rows = NDArray[np.uint8]
"""RGB, rows x width x 3."""

_BYTES_AT_ONCE = 64 * 1024
_INTEGER = 24  # GObject's number of the type
# Of 255: below, no more than a tenth of the numbers' range is used, as by a camera of 12 bits in a file of 16.
_DARK = 26
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

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of how it is read; whole once all rows were."""

    def read(self, top: int, bottom: int) -> Rows:
        """Return the rows from `top` to before `bottom`; `top` is where the last call ended."""


class ArraySource:
    """An image that is in memory already, uint8 height x width x 3; and what a person should know of it."""

    def __init__(self, image_HWC: Rows, notes: tuple[str, ...] = ()) -> None:
        self.height, self.width = image_HWC.shape[:2]
        self.notes = notes
        self._image_HWC = image_HWC

    def read(self, top: int, bottom: int) -> Rows:
        """Return the rows from `top` to before `bottom`."""
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

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the other source."""
        return self._source.notes

    def read(self, top: int, bottom: int) -> Rows:
        """Return the rows from `top` to before `bottom`."""
        rows = self._source.read(top, bottom)
        self._show(rows)
        return rows


@contextmanager
def open_source(path: Path, *, max_pixels: int, wanted: Wanted = AS_THE_FILE_SAYS) -> Iterator[RowSource]:
    """Open a TIFF, PNG, JPEG, WebP, GIF, HEIF or BMP: RGB, 8 bits, upright; of a TIFF the first whole page.

    Memory does not grow with the height. Formats that cannot be read from top to bottom (a turned photo, an interlaced
    PNG) are unpacked by libvips, on disk where they are large; those that only Pillow knows, in memory.

    Args:
        path: of the file.
        max_pixels: more are refused.
        wanted: which bands, and what is black and white, where the file does not say so.

    Raises:
        DataError: no such file, no image, damaged (then while it is read), more than `max_pixels`, or numbers that are
            no colours.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Name an image.")
    with path.open("rb") as file:
        head = file.read(NUM_HEADER_BYTES)
    if size := canvas_size(head):  # opening a WebP already makes room for it
        _refuse_size(path, *size, max_pixels)
    by_rows = _vips_reads(path) and not _fits_as_gif(head)
    yield _VipsSource(path, max_pixels, wanted) if by_rows else _in_memory(path, max_pixels)


def _fits_as_gif(head: bytes) -> bool:
    """Tell whether it is a GIF that Pillow reads: libvips unpacks it whole too, and stops where its end is missing."""
    width, height = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    return head.startswith(b"GIF8") and width * height <= PILLOW_LIMIT_PIXELS


def _vips_reads(path: Path) -> bool:
    try:
        import pyvips
    except (ImportError, OSError):  # a wheel is missing for some systems
        return False
    found = pyvips.vips_lib.vips_foreign_find_load(str(path).encode())
    return found != pyvips.ffi.NULL and pyvips.ffi.string(found).startswith(_LOADERS)


def _in_memory(path: Path, max_pixels: int) -> ArraySource:
    from eightgig.data.images.decoding import decode_with_notes

    try:
        found = decode_with_notes(path.read_bytes(), max_pixels=min(max_pixels, PILLOW_LIMIT_PIXELS))
    except ImageRejectedError as error:
        raise DataError(
            f"{path}: wanted an image, but it cannot be read ({error.detail}). Replace the file, or save it as TIFF."
        ) from error
    return ArraySource(found.pixels_HWC, (*found.notes, *found.remarks))


class _VipsSource:
    def __init__(self, path: Path, max_pixels: int, wanted: Wanted) -> None:
        import pyvips

        self._path, self._error, self._next, self._brightest = path, pyvips.Error, 0, -1
        try:
            self._tiff = read_tiff(path)
            if self._tiff is not None:
                refuse_kind(self._tiff.page)
            self._file = whole_file(path)
            image = self._upright(self._open(max_pixels))
            self._plan = plan_bands(image, self._tiff, wanted)
            self._region = pyvips.Region.new(to_rgb(image, self._plan))
        except pyvips.Error as error:
            raise self._refusal(error) from error
        except ImageRejectedError as error:
            raise self._refusal(error) from error
        except BandsError as error:
            raise DataError(f"{path}: {error}") from error
        self.width, self.height = image.width, image.height

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of how it is read."""
        is_dark = self._plan.is_guess and 0 <= self._brightest < _DARK
        dark = f"its brightest value is {self._brightest} of 255: if that is too dark, set tiles.black and tiles.white"
        return (*self._file.remarks, *self._plan.notes, *([dark] if is_dark else []))

    def read(self, top: int, bottom: int) -> Rows:
        """Return the rows from `top` to before `bottom`."""
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
        self._brightest = max(self._brightest, int(rows_RWC.max(initial=0)))
        return rows_RWC

    def _open(self, max_pixels: int) -> Any:
        image = self._loaded("sequential")
        _refuse_size(self._path, image.width, image.height, max_pixels)
        return image

    def _loaded(self, access: str) -> Any:
        import pyvips

        how: dict[str, Any] = {"access": access, "fail_on": self._file.fail_on}
        if self._file.data is not None:
            return pyvips.Image.new_from_buffer(self._file.data, "", **how)
        if self._tiff is not None and self._tiff.number:
            how |= {"page": self._tiff.number}
        return pyvips.Image.new_from_file(str(self._path), **how)

    def _upright(self, image: Any) -> Any:
        orientation = self._file.orientation
        if orientation is None:
            orientation = image.get("orientation") if image.get_typeof("orientation") else UPRIGHT
        if orientation == UPRIGHT:
            return image
        image = self._loaded("random").copy()
        image.set_type(_INTEGER, "orientation", orientation)
        return image.autorot()

    def _refusal(self, error: Exception) -> DataError:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else "no reason given"
        at = f" at row {self._next:,}" if self._next else ""
        return DataError(f"{self._path}: wanted an image, but it cannot be read{at} ({reason}). Replace the file.")


def _refuse_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise DataError(
            f"{path}: {width:,} x {height:,} pixels; at most {max_pixels:,} are read. Raise tiles.max_pixels to "
            "read it all the same."
        )
