"""PNG: its image data without what lies around them, and whether they are whole.

A PNG may carry texts, colour profiles and thumbnails of any size, which decoders limit or check in ways of their own.
None of that decides a pixel, so none of it is given to them. What does decide pixels is checked by its checksums.

Source: PNG specification, third edition (W3C, 2025), 5.3 (chunks), 5.4 (critical and ancillary), 11.2 and 11.3.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from eightgig.core.errors import ImageRejectedError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA = 0, 2, 3, 4
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_HEADER = struct.Struct(">IIBBBBB")
_ANCILLARY_BIT = 0x20  # of the first letter: a small one
_CHUNK_HEAD, _CHUNK_TAIL = 8, 4
_LARGE = (b"IDAT", b"fdAT")  # whose bodies are looked at by their checksum alone
_RAW_EXIF, _XMP = b"Raw profile type exif", b"XML:com.adobe.xmp"
# An orientation stands near the beginning; unpacking stops here, however long the text is.
_MOST_UNPACKED = 2**20
_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))


class PngHeader(NamedTuple):
    """What IHDR says: pixels, bits a channel, kind of colour, and how it is packed."""

    width: int
    height: int
    bits: int
    colour: int
    compression: int
    filtering: int
    interlacing: int


@dataclass
class PngParts:
    """What of a PNG decides its pixels.

    Attributes:
        header: of the file.
        data: the image data as a PNG without anything around them.
        transparency: what tRNS holds.
        exif: EXIF data; empty where there are none.
        xmp: likewise.
        is_animated: whether there are more frames than the one in `data`.
        remarks: what is wrong with the file, though its pixels are whole.
    """

    header: PngHeader
    data: bytes = b""
    transparency: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    is_animated: bool = False
    remarks: list[str] = field(default_factory=list)


class _Chunk(NamedTuple):
    name: bytes
    body: bytes
    is_whole: bool
    has_checksum: bool
    span: slice


def png_header(data: bytes | mmap.mmap) -> PngHeader | None:
    """Return what the header says, unchecked; None where it is not there."""
    if data[:8] != SIGNATURE or data[12:16] != b"IHDR" or len(data) < 16 + _HEADER.size:
        return None
    return PngHeader(*_HEADER.unpack_from(data, 16))


def split_png(data: bytes) -> PngParts:
    """Return the parts of a PNG.

    Raises:
        ImageRejectedError: `truncated`, `damaged` or `unsupported`, where that concerns pixels.
    """
    parts, spans = _walk(data)
    parts.data = b"".join([SIGNATURE, *(data[span] for span in spans), _END])
    return parts


def check_png(data: bytes | mmap.mmap) -> PngParts:
    """Return the parts of a PNG without its image data, of which there may be more than memory.

    Raises:
        ImageRejectedError: as `split_png` does.
    """
    return _walk(data)[0]


def _walk(data: bytes | mmap.mmap) -> tuple[PngParts, list[slice]]:
    """Return the parts, and where the chunks lie that decide pixels."""
    header = png_header(data)
    if header is None:
        raise _headless(data)
    parts, kept, has_end = PngParts(header), list[_Chunk](), False
    for chunk in _chunks(data):
        if chunk.name == b"IEND":
            has_end = chunk.has_checksum
            break
        if not chunk.has_checksum:
            _judge(chunk, parts)
            continue
        if chunk.name in _PIXELS:
            kept.append(chunk)
        elif not _is_ancillary(chunk.name):
            raise ImageRejectedError("unsupported", f"a chunk {_name(chunk.name)} that only its maker understands")
        _note(chunk, parts)
    _refuse_doubles(kept)
    if not has_end:
        _require_all_data(data, kept)
        parts.remarks.append("the file ends without its end chunk")
    return parts, [chunk.span for chunk in kept]


def _chunks(data: bytes | mmap.mmap) -> Iterator[_Chunk]:
    """Yield the chunks; of one that is not whole, what is there. Only one at a time is held."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        start, stop = at + 8, at + 8 + length
        body = data[start:stop] if name not in _LARGE or stop + 4 > len(data) else b""
        is_whole = stop + 4 <= len(data)
        checksum = int.from_bytes(data[stop : stop + 4])
        has_checksum = is_whole and _checksum(data, start, stop, zlib.crc32(name)) == checksum
        yield _Chunk(name, body, is_whole, has_checksum, slice(at, stop + 4))
        at = stop + 4


def _checksum(data: bytes | mmap.mmap, start: int, stop: int, before: int) -> int:
    for at in range(start, stop, _MOST_UNPACKED):
        before = zlib.crc32(data[at : min(at + _MOST_UNPACKED, stop)], before)
    return before


def _is_ancillary(name: bytes) -> bool:
    return bool(name[0] & _ANCILLARY_BIT)


def _judge(chunk: _Chunk, parts: PngParts) -> None:
    """Refuse a chunk that is not whole where it decides pixels; leave it out otherwise."""
    name = _name(chunk.name)
    if chunk.name in _PIXELS or not _is_ancillary(chunk.name):
        if not chunk.is_whole:
            raise ImageRejectedError("truncated", f"the file ends within its {name}")
        raise ImageRejectedError("damaged", f"the checksum of its {name} is wrong")
    what = "its checksum is wrong" if chunk.is_whole else "the file ends within it"
    parts.remarks.append(f"chunk {name} is left out: {what}")


def _refuse_doubles(kept: list[_Chunk]) -> None:
    """Two headers are two sizes: which one holds, decoders do not agree on."""
    names = [chunk.name for chunk in kept if chunk.name != b"IDAT"]
    for name in names:
        if names.count(name) > 1:
            raise ImageRejectedError("damaged", f"it has more than one {_name(name)}")


def _require_all_data(data: bytes | mmap.mmap, kept: list[_Chunk]) -> None:
    """Refuse image data that stop before their own end; nothing of what is unpacked is kept."""
    unpacker = zlib.decompressobj()
    try:
        for chunk in kept:
            waiting = data[chunk.span][_CHUNK_HEAD:-_CHUNK_TAIL] if chunk.name == b"IDAT" else b""
            while waiting and not unpacker.eof:
                unpacker.decompress(waiting, _MOST_UNPACKED)
                waiting = unpacker.unconsumed_tail
    except zlib.error as error:
        raise ImageRejectedError("damaged", str(error)) from error
    if not unpacker.eof:
        raise ImageRejectedError("truncated", "the file ends before its image data do")


def _note(chunk: _Chunk, parts: PngParts) -> None:
    """Keep what is asked for of a chunk; all of it can be made up, so nothing may fail."""
    body = chunk.body
    if chunk.name == b"tRNS":
        parts.transparency = body
    elif chunk.name == b"eXIf":
        parts.exif = body
    elif chunk.name == b"acTL":
        parts.is_animated = int.from_bytes(body[:4]) > 1
    elif chunk.name in (b"tEXt", b"zTXt", b"iTXt"):
        keyword, _, _ = body[: len(_RAW_EXIF) + 1].partition(b"\0")
        if keyword == _RAW_EXIF and not parts.exif:
            parts.exif = _raw_exif(_text(chunk.name, body))
        elif chunk.name == b"iTXt" and keyword == _XMP:
            parts.xmp = _text(chunk.name, body)


def _text(name: bytes, body: bytes) -> bytes:
    """Return what stands in a text chunk, no more than is looked into."""
    _, _, text = body.partition(b"\0")
    is_packed = name == b"zTXt"
    if name == b"zTXt":
        text = text[1:]
    elif name == b"iTXt":
        is_packed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
    if not is_packed:
        return text[:_MOST_UNPACKED]
    try:
        return zlib.decompressobj().decompress(text, _MOST_UNPACKED)
    except zlib.error:
        return b""


def _raw_exif(text: bytes) -> bytes:
    """Read ImageMagick's form: a word, a length, hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.decode("ascii").split()[2:]))
    except ValueError:
        return b""


def _headless(data: bytes | mmap.mmap) -> ImageRejectedError:
    if data[12:16] == b"CgBI":
        return ImageRejectedError("unsupported", "a PNG as Xcode packs it (CgBI); save it as an ordinary PNG")
    return ImageRejectedError("truncated", f"begins like an image, but its header is not whole ({len(data)} bytes)")


def _name(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")
