"""Whether a video file ends where its container says: FFmpeg reads one that was cut off, and says nothing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

Finding = str | None
"""What is missing, to follow "the file "; None where nothing is known to be."""

_PADDING = 4096  # zeros that some programs put behind a file's end mark
_MOST_PARTS = 2**20
_BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"emsg", b"prft", b"meta", b"uuid", b"udta"}
_BOXES |= {b"free", b"skip", b"wide", b"pnot", b"pdin"}
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
# EBML's head, Void, CRC-32; SeekHead, Info, Tracks, Cues, Tags, Attachments, Chapters; what a cluster holds.
_ELEMENTS = {_SEGMENT, _CLUSTER, 0x1A45DFA3, 0xEC, 0xBF}
_ELEMENTS |= {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1254C367, 0x1941A469, 0x1043A770}
_ELEMENTS |= {0xE7, 0xA7, 0xAB, 0xA3, 0xA0, 0x5854, 0xAF}
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))  # length of a packet, and where in it the sync byte is
_OGG_TAIL = 2**17  # two of its largest pages
_OGG_LAST_PAGE = 4
_RIFF_UNFINISHED = (0, 2**32 - 1)


def what_is_missing(path: Path) -> Finding:
    """Return what a file lacks at its end, as far as its kind of container tells; raw streams tell nothing."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        head = _at(file, 0, 1024)
        for is_kind, check in _KINDS:
            if is_kind(head):
                return check(file, size)
    return None


def has_index(path: Path) -> bool:
    """Return whether an MP4 or MOV file has its `moov`, without which none of it can be read."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        return not _is_iso(_at(file, 0, 16)) or b"moov" in {kind for kind, _, _ in _boxes(file, size)}


def _at(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _is_iso(head: bytes) -> bool:
    return head[4:8] in _BOXES


def _boxes(file: BinaryIO, size: int) -> list[tuple[bytes, int, int]]:
    """Return kind, beginning and end of the boxes of an MP4 file; the last may end behind the file."""
    boxes: list[tuple[bytes, int, int]] = []
    at = 0
    while at + 8 <= size and len(boxes) < _MOST_PARTS:
        header = _at(file, at, 16)
        length = int.from_bytes(header[:4])
        if length == 1:
            length = int.from_bytes(header[8:16])
        if header[4:8] not in _BOXES or (length < 8 and length != 0):
            break  # some cameras put something of their own behind the boxes
        boxes.append((header[4:8], at, at + length if length else size))
        at = boxes[-1][2]
    return boxes


def _iso(file: BinaryIO, size: int) -> Finding:
    boxes = _boxes(file, size)
    return _short_by(boxes[-1][2] - size) if boxes else None


def _matroska(file: BinaryIO, size: int) -> Finding:
    at = 0
    for _ in range(_MOST_PARTS):
        if at >= size:
            return None
        kind, content_at, length = _element(_at(file, at, 12), at)
        end = content_at + (length or 0)
        if content_at > size or (kind in _ELEMENTS and end > size):
            return _short_by(end - size)
        if kind not in _ELEMENTS or (length is None and kind not in {_SEGMENT, _CLUSTER}):
            return None  # something else was put behind the elements, or is damaged: FFmpeg finds the next one
        at = content_at if length is None or kind == _SEGMENT else end
    return None


def _element(header: bytes, at: int) -> tuple[int, int, int | None]:
    """Return an EBML element's kind (0 for none), where its content begins, and how long that is (None: unknown)."""
    kind_length = _width(header[0], most=4)
    length_length = _width(header[kind_length], most=8) if len(header) > kind_length else 1
    content_at = at + kind_length + length_length
    if not kind_length or not length_length:
        return 0, at, 0
    unknown = (1 << 7 * length_length) - 1
    length = int.from_bytes(header[kind_length:][:length_length]) & unknown
    return int.from_bytes(header[:kind_length]), content_at, None if length == unknown else length


def _width(first: int, *, most: int) -> int:
    """Return how many bytes a number of EBML takes, which its first byte tells; 0 where it is none."""
    width = 9 - first.bit_length()
    return width if width <= most else 0


def _riff(file: BinaryIO, size: int) -> Finding:
    at = 0
    while at + 8 <= size:
        header = _at(file, at, 8)
        length = int.from_bytes(header[4:], "little")
        if header[:4] != b"RIFF":
            return None
        if length in _RIFF_UNFINISHED:
            return "was never finished by the program that wrote it"
        if at + 8 + length > size:
            return _short_by(at + 8 + length - size)
        at += 8 + length + length % 2
    return None


def _transport(file: BinaryIO, size: int) -> Finding:
    left = size % _packet_length(_at(file, 0, 1024))
    return f"ends within a packet, after {left} bytes of it" if left else None


def _packet_length(head: bytes) -> int:
    """Return the length of the packets of an MPEG-TS; 0 where it is none."""
    for length, sync in _TS_PACKETS:
        if len(head) > 2 * length + sync and all(head[sync + n * length] == 0x47 for n in range(3)):
            return length
    return 0


def _ogg(file: BinaryIO, size: int) -> Finding:
    tail = _at(file, max(0, size - _OGG_TAIL), _OGG_TAIL)
    page = tail[tail.rfind(b"OggS") :]
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    if len(page) < 27 + len(lengths) + sum(lengths) or not page[5] & _OGG_LAST_PAGE:
        return "has no last page"
    return None


def _short_by(count: int) -> Finding:
    return f"is {count:,} bytes shorter than it says" if count > 0 else None


def _ends_with(mark: bytes) -> Callable[[BinaryIO, int], Finding]:
    def check(file: BinaryIO, size: int) -> Finding:
        tail = _at(file, max(0, size - _PADDING), _PADDING)
        return None if tail.rstrip(b"\0").endswith(mark) else "has no end mark"

    return check


_KINDS: tuple[tuple[Callable[[bytes], object], Callable[[BinaryIO, int], Finding]], ...] = (
    (_is_iso, _iso),
    (lambda head: head.startswith(b"\x1aE\xdf\xa3"), _matroska),
    (lambda head: head.startswith(b"RIFF") and head[8:12] == b"AVI ", _riff),
    (lambda head: head.startswith(b"GIF8"), _ends_with(b"\x3b")),
    (lambda head: head.startswith(b"\x89PNG"), _ends_with(b"IEND\xaeB`\x82")),
    (lambda head: head.startswith(b"\xff\xd8\xff"), _ends_with(b"\xff\xd9")),
    (lambda head: head.startswith(b"OggS"), _ogg),
    (_packet_length, _transport),
)
