"""How large a WebP says it is, before a decoder that makes room for all of it is asked; and its image alone.

Source: RFC 9649 (2024), WebP Image Format; RFC 6386 (2011), VP8, section 9.1.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from eightgig.core.errors import ImageRejectedError

NUM_HEADER_BYTES = 30
_FRAMES_AT = 12
_HAS_ALPHA, _HAS_FRAMES = 0x10, 0x02  # of the flags in VP8X


class WebpParts(NamedTuple):
    """What of a WebP decides its first image.

    Attributes:
        data: the image as a WebP without anything around it; of a film the first frame.
        exif: EXIF data, where they are whole.
        xmp: XMP data likewise.
    """

    data: bytes
    exif: bytes
    xmp: bytes


def canvas_size(head: bytes) -> tuple[int, int] | None:
    """Return width and height by the first bytes of a file; None where they are those of no WebP."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < NUM_HEADER_BYTES:
        return None
    match head[12:16]:
        case b"VP8X":
            return _number(head[24:27]) + 1, _number(head[27:30]) + 1
        case b"VP8L":
            packed = _number(head[21:25])
            return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return _number(head[26:28]) & 0x3FFF, _number(head[28:30]) & 0x3FFF
    return None


def split_webp(data: bytes) -> WebpParts:
    """Return the parts of a WebP whose container is not as it should be.

    Raises:
        ImageRejectedError: `truncated`: its first image is not whole.
    """
    head = kept = exif = xmp = b""
    for name, body, is_whole in _chunks(data):
        if name == b"EXIF" and is_whole:
            exif = body
        elif name == b"XMP " and is_whole:
            xmp = body
        if kept or name not in (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"):
            continue
        if not is_whole:
            raise ImageRejectedError("truncated", f"the file ends within its {name.decode().strip()}")
        if name in (b"ANMF", b"VP8 ", b"VP8L"):
            kept = head + _chunk(name, body)
        elif name == b"VP8X":
            head += _chunk(name, bytes([body[0] & (_HAS_ALPHA | _HAS_FRAMES)]) + body[1:] if body else body)
        else:
            head += _chunk(name, body)
    if not kept:
        raise ImageRejectedError("truncated", "the file ends before its image data begin")
    return WebpParts(b"RIFF" + struct.pack("<I", 4 + len(kept)) + b"WEBP" + kept, exif, xmp)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    at = _FRAMES_AT
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + length]
        yield name, body, len(body) == length
        at += 8 + length + length % 2


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _number(content: bytes) -> int:
    return int.from_bytes(content, "little")
