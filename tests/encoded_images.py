"""Image files as cameras, renderers and GIS tools write them, and as they get damaged on their way."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image

END = b"\xff\xd9"
_SCALARS = {1: "B", 2: "s", 3: "H", 4: "I"}


def encoded(pixels: Any, kind: str, **options: Any) -> bytes:
    """Encode pixels or an image of Pillow's."""
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Draw soft blobs, height x width x 3."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def jpeg_segment(code: int, body: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def after_start(data: bytes, more: bytes) -> bytes:
    """Put segments behind a JPEG's first two bytes."""
    return data[:2] + more + data[2:]


def before_marker(data: bytes, code: int, more: bytes) -> bytes:
    """Put bytes before the first marker of a kind."""
    at = data.index(bytes([0xFF, code]))
    return data[:at] + more + data[at:]


def with_scan_end(data: bytes, last: int) -> bytes:
    """Write the last coefficient of the last scan's header anew, which Samsung's cameras leave at 0."""
    at = data.rfind(b"\xff\xda")
    place = at + 5 + 2 * data[at + 4] + 1
    return data[:place] + bytes([last]) + data[place + 1 :]


def chunk(name: bytes, body: bytes, *, is_damaged: bool = False) -> bytes:
    """A chunk of a PNG, on request with a wrong checksum."""
    checksum = zlib.crc32(name + body) ^ is_damaged
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def behind_header(png: bytes, *chunks: bytes) -> bytes:
    return png[:33] + b"".join(chunks) + png[33:]


def png_of(values: np.ndarray, bits: int, colour: int, *chunks: bytes) -> bytes:
    """Write a PNG of any depth: values height x width (x channels), chunks between header and data."""
    height, width = values.shape[:2]
    flat = values.reshape(height, -1)
    rows = [row.astype(">u2").tobytes() if bits == 16 else _packed(row, bits) for row in flat]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    named = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(named)


def tiff_of(
    pixels: np.ndarray,
    photometric: int,
    *,
    extra: Sequence[int] | None = None,
    order: Literal["<", ">"] = "<",
    planar: bool = False,
    bits: int | None = None,
    more: Sequence[tuple[int, int, Any]] = (),
    kind: int = 0,
    pages_before: Sequence[bytes] = (),
) -> bytes:
    """Write a TIFF, height x width x bands, not compressed.

    Args:
        pixels: of any type of numbers; of fewer than 8 bits packed already.
        photometric: tag 262.
        extra: tag 338.
        order: `<` or `>`.
        planar: whether each band lies by itself.
        bits: a number; None takes the type's.
        more: tags as (number, type, values).
        kind: tag 254.
        pages_before: whole TIFF files of the same order, whose only page comes first.
    """
    height, width, num_bands = pixels.shape
    if bits is not None and bits < 8:
        width = width * 8 // bits
    bits = 8 * pixels.itemsize if bits is None else bits
    parts = [pixels[..., band] for band in range(num_bands)] if planar else [pixels]
    strips = [part.astype(part.dtype.newbyteorder(order)).tobytes() for part in parts]
    numbers = {"u": 1, "i": 2, "f": 3, "c": 6}[pixels.dtype.kind]
    tags = [
        (254, 4, [kind]), (256, 3, [width]), (257, 3, [height]), (258, 3, [bits] * num_bands), (259, 3, [1]),
        (262, 3, [photometric]), (277, 3, [num_bands]), (278, 3, [height]), (284, 3, [2 if planar else 1]),
        (339, 3, [numbers] * num_bands), *more, *([(338, 3, list(extra))] if extra is not None else []),
    ]  # fmt: skip
    before = b"".join(pages_before)
    return (
        before + _directory(tags, strips, order, len(before))
        if not before
        else _chained(pages_before, tags, strips, order)
    )


def _chained(pages: Sequence[bytes], tags: list[tuple[int, int, Any]], strips: list[bytes], order: str) -> bytes:
    """Join files to one: offsets of later ones are moved, and each directory names the next."""
    made, links = b"", []
    for page in pages:
        shift = len(made)
        moved, link = _moved(page, order, shift)
        made += moved
        links.append((link, shift))
    last = _directory(tags, strips, order, len(made))
    result = bytearray(made + last)
    starts = [shift + 8 for _, shift in links[1:]] + [len(made) + 8]
    for (link, _), start in zip(links, starts, strict=True):
        struct.pack_into(order + "I", result, link, start)
    return bytes(result)


def _moved(page: bytes, order: str, shift: int) -> tuple[bytes, int]:
    data = bytearray(page)
    (count,) = struct.unpack_from(order + "H", data, 8)
    for number in range(count):
        at = 10 + 12 * number
        tag, kind, length = struct.unpack_from(order + "HHI", data, at)
        if tag == 273 or struct.calcsize(_SCALARS[kind]) * length > 4:
            (value,) = struct.unpack_from(order + "I", data, at + 8)
            struct.pack_into(order + "I", data, at + 8, value + shift)
    return bytes(data), shift + 10 + 12 * count


def _directory(tags: list[tuple[int, int, Any]], strips: list[bytes], order: str, shift: int) -> bytes:
    tags = sorted([*tags, (273, 4, [0] * len(strips)), (279, 4, [len(strip) for strip in strips])])
    start = shift + 8 + 2 + 12 * len(tags) + 4
    values = {tag: _value(kind, value, order) for tag, kind, value in tags}
    long = sum(len(value) for value in values.values() if len(value) > 4)
    at = start + long
    offsets = []
    for strip in strips:
        offsets.append(at)
        at += len(strip)
    values[273] = struct.pack(order + "I" * len(offsets), *offsets)
    entries, heap = b"", b""
    for tag, kind, value in tags:
        raw = values[tag]
        shown = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack(order + "I", start + len(heap))
        heap += raw if len(raw) > 4 else b""
        entries += struct.pack(order + "HHI", tag, kind, len(value)) + shown
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", shift + 8)
    return head + struct.pack(order + "H", len(tags)) + entries + bytes(4) + heap + b"".join(strips)


def _value(kind: int, values: Any, order: str) -> bytes:
    return values if kind == 2 else struct.pack(order + _SCALARS[kind] * len(values), *values)


def _packed(row: np.ndarray, bits: int) -> bytes:
    if bits == 8:
        return row.astype(np.uint8).tobytes()
    each = ((row[:, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8)
    return np.packbits(each.ravel()).tobytes()
