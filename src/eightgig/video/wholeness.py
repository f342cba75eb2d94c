"""Whether a video file ends where its container says: FFmpeg reads one that was cut off, and says nothing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

Finding = str | None
"""What is missing, to follow "the file "; None where nothing is known to be."""

_PADDING = 4096  # zeros that some programs put behind a file's end mark
_MOST_PARTS = 2**20
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))  # length of a packet, and where in it the sync byte is
_OGG_TAIL = 2**17  # two of its largest pages
_OGG_LAST_PAGE = 4
_RIFF_UNFINISHED = (0, 2**32 - 1)


def what_is_missing(path: Path) -> Finding:
    """Give what a file lacks at its end, as far as its kind of container tells; raw streams tell nothing."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        head = _at(file, 0, 1024)
        for is_kind, check in _KINDS:
            if is_kind(head):
                return check(file, size)
    return None


def has_index(path: Path) -> bool:
    """Say whether an MP4 or MOV file has its `moov`, without which none of it can be read."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        return not _is_iso(_at(file, 0, 16)) or b"moov" in {kind for kind, _, _ in _boxes(file, size)}


def _at(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _is_iso(head: bytes) -> bool:
    return head[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot"}


def _boxes(file: BinaryIO, size: int) -> list[tuple[bytes, int, int]]:
    """Give kind, beginning and end of the boxes of an MP4 file; the last may end behind the file."""
    boxes: list[tuple[bytes, int, int]] = []
    at = 0
    while at + 8 <= size and len(boxes) < _MOST_PARTS:
        header = _at(file, at, 16)
        length = int.from_bytes(header[:4])
        if length == 1:
            length = int.from_bytes(header[8:16])
        if length < 8 and length != 0:
            break
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
        if not kind:
            return None  # no element: FFmpeg finds the next one by itself
        end = None if length is None else content_at + length
        if end is not None and end > size:
            return _short_by(end - size)
        if content_at > size:
            return _short_by(content_at - size)
        if end is None and kind not in {_SEGMENT, _CLUSTER}:
            return None
        at = content_at if end is None or kind == _SEGMENT else end
    return None


def _element(header: bytes, at: int) -> tuple[int, int, int | None]:
    """Give an EBML element's kind (0 for none), where its content begins, and how long that is (None: unknown)."""
    kind_length = 9 - header[0].bit_length() if header[0] else 9
    if kind_length > 4:
        return 0, at, 0
    after = header[kind_length:]
    if not after or not after[0]:
        return (int.from_bytes(header[:kind_length]), at + kind_length + 8, 0) if not after else (0, at, 0)
    length_length = 9 - after[0].bit_length()
    bits = 7 * length_length
    value = int.from_bytes(after[:length_length].ljust(length_length, b"\0")) & ((1 << bits) - 1)
    length = None if value == (1 << bits) - 1 else value
    return int.from_bytes(header[:kind_length]), at + kind_length + length_length, length


def _riff(file: BinaryIO, size: int) -> Finding:
    at = 0
    while at + 8 <= size:
        header = _at(file, at, 8)
        length = int.from_bytes(header[4:], "little")
        if header[:4] == b"RIFF" and length in _RIFF_UNFINISHED:
            return "was never finished by the program that wrote it"
        if at + 8 + length > size:
            return _short_by(at + 8 + length - size)
        at += 8 + length + length % 2
    return None


def _transport(file: BinaryIO, size: int) -> Finding:
    left = size % _packet_length(_at(file, 0, 1024))
    return f"ends within a packet, after {left} bytes of it" if left else None


def _packet_length(head: bytes) -> int:
    """Give the length of the packets of an MPEG-TS; 0 where it is none."""
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
