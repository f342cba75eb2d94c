"""Formats that are made of parts: an edit changes one part, and the lengths and checksums around it are made right.

Without this a change inside a PNG or a zip archive is found by its CRC, and what lies behind is never tried.
"""

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hypothesis import strategies as st
from tests.fuzz.edits import Edits, Strategy, apply_all, byte_edits, json_edits

Part = tuple[bytes, bytes]
"""Its name, and what is in it."""


_NOT_OF_PARTS = (ValueError, struct.error, zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError)


class Format(NamedTuple):
    """How a file is taken apart (ValueError where it is none) and put together."""

    split: Callable[[bytes], list[Part]]
    join: Callable[[Sequence[Part]], bytes]


class InPart(NamedTuple):
    """Edits of one part of a file."""

    format: str
    nth: int
    edits: Edits

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        return _changed(self.format, data, self._edit)

    def _edit(self, parts: list[Part]) -> None:
        place = self.nth % len(parts)
        name, content = parts[place]
        parts[place] = name, apply_all(self.edits, content)


class Rearrange(NamedTuple):
    """A part is dropped or doubled, or changes places with another."""

    format: str
    nth: int
    what: str
    other: int

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        return _changed(self.format, data, self._edit)

    def _edit(self, parts: list[Part]) -> None:
        place, other = self.nth % len(parts), self.other % len(parts)
        if self.what == "drop":
            del parts[place]
        elif self.what == "double":
            parts.insert(other, parts[place])
        else:
            parts[place], parts[other] = parts[other], parts[place]


def _changed(name: str, data: bytes, edit: Callable[[list[Part]], None]) -> bytes:
    form = FORMATS[name]
    try:
        parts = form.split(data)
    except _NOT_OF_PARTS:
        return data
    if parts:
        edit(parts)
    return form.join(parts)


def part_edits(name: str) -> Strategy:
    """Edits of single parts, of JSON parts as JSON; none for a file that has no such parts."""

    def make(data: bytes) -> st.SearchStrategy[Edits]:
        try:
            parts = FORMATS[name].split(data)
        except _NOT_OF_PARTS:
            return st.nothing()

        def inside_of(number: int, content: bytes) -> st.SearchStrategy[Edits]:
            return _edits_of(content).map(lambda edit: (InPart(name, number, edit),))

        inside = [inside_of(number, content) for number, (_, content) in enumerate(parts)]
        places = st.integers(0, len(parts) - 1)
        moved = st.builds(Rearrange, st.just(name), places, st.sampled_from(("drop", "double", "swap")), places)
        return st.one_of(*inside, moved.map(lambda one: (one,)))

    return make


def _edits_of(content: bytes) -> st.SearchStrategy[Edits]:
    try:
        json.loads(content)
    except ValueError:
        return byte_edits(content)
    return json_edits(content)


_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _split_png(data: bytes) -> list[Part]:
    parts, at = [], len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        parts.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return parts


def _join_png(parts: Sequence[Part]) -> bytes:
    chunks = (struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in parts)
    return _PNG_SIGNATURE + b"".join(chunks)


def _split_zip(data: bytes) -> list[Part]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(entry.filename.encode(), archive.read(entry)) for entry in archive.infolist()]


def _join_zip(parts: Sequence[Part]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in dict(parts):  # the last of two with one name
            archive.writestr(zipfile.ZipInfo(name.decode()), dict(parts)[name])
    return buffer.getvalue()


def _split_safetensors(data: bytes) -> list[Part]:
    (size,) = struct.unpack_from("<Q", data)
    return [(b"header", data[8 : 8 + size]), (b"tensors", data[8 + size :])]


def _join_safetensors(parts: Sequence[Part]) -> bytes:
    contents = dict(parts)
    header = contents.get(b"header", b"")
    return struct.pack("<Q", len(header)) + header + contents.get(b"tensors", b"")


def _split_gzip(data: bytes) -> list[Part]:
    return [(b"", gzip.decompress(data))]


def _join_gzip(parts: Sequence[Part]) -> bytes:
    return b"".join(gzip.compress(content, 1, mtime=0) for _, content in parts)


FORMATS = {
    "png": Format(_split_png, _join_png),
    "zip": Format(_split_zip, _join_zip),
    "safetensors": Format(_split_safetensors, _join_safetensors),
    "gzip": Format(_split_gzip, _join_gzip),
}
