"""Whether a file that is to be read row by row is one that ingest would accept, and what of it libvips is given.

libvips goes on after most of what libjpeg remarks, damage too, and stops at some of what is harmless. Here both are
judged by the rules that hold for all images (`eightgig.data.images.decoding`), without the pixels.
"""

import mmap
from pathlib import Path
from typing import Literal, NamedTuple

from eightgig.data.images.exif import orientation_of
from eightgig.data.images.jpeg import jpeg_remark, require_whole, split_jpeg
from eightgig.data.images.png import SIGNATURE, check_png
from eightgig.data.images.webp import NUM_HEADER_BYTES, canvas_size, split_webp

_JPEG_START = b"\xff\xd8\xff"


class WholeFile(NamedTuple):
    """How a file is given to libvips.

    Attributes:
        data: the image data alone; None where the file itself will do.
        orientation: EXIF's; None where libvips finds it.
        fail_on: the complaints at which libvips stops.
        remarks: what is wrong with the file, though its pixels are whole.
    """

    data: bytes | None = None
    orientation: int | None = None
    fail_on: Literal["none", "error"] = "error"
    remarks: tuple[str, ...] = ()


def whole_file(path: Path) -> WholeFile:
    """Return how the file is to be read.

    Raises:
        ImageRejectedError: pixels of a JPEG, PNG or WebP are missing or wrong.
    """
    with path.open("rb") as file:
        head = file.read(NUM_HEADER_BYTES)
    if head.startswith(_JPEG_START):
        return _jpeg(path.read_bytes())
    if head.startswith(SIGNATURE):
        return _png(path)
    if canvas_size(head):
        return _webp(path.read_bytes())
    return WholeFile()


def _jpeg(data: bytes) -> WholeFile:
    parts = split_jpeg(data)
    orientation, about_exif = orientation_of(parts.exif, parts.xmp)
    remark = jpeg_remark(data, parts.num_channels)
    if remark:
        require_whole(data)
    remarks = [f"libjpeg: {remark}" if remark else "", about_exif]
    return WholeFile(parts.stream() if remark else None, orientation, "none", tuple(filter(None, remarks)))


def _png(path: Path) -> WholeFile:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        parts = check_png(data)
    orientation, about_exif = orientation_of(parts.exif, parts.xmp)
    return WholeFile(None, orientation, remarks=(*parts.remarks, *filter(None, [about_exif])))


def _webp(data: bytes) -> WholeFile:
    parts = split_webp(data)
    orientation, about_exif = orientation_of(parts.exif, parts.xmp)
    return WholeFile(parts.data, orientation, remarks=tuple(filter(None, [about_exif])))
