"""What a TIFF says about its pages: which bands there are, and what their numbers mean. No pixel is read.

Source: TIFF 6.0 (Adobe, 1992); BigTIFF (AWare Systems, 2004); GDAL's tag 42113 for what stands for "no data".
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from eightgig.core.errors import DataError

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, SEPARATED, YCBCR = 0, 1, 2, 3, 5, 6
UNSPECIFIED, PREMULTIPLIED, ALPHA = 0, 1, 2
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
_KIND, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR = 254, 256, 257, 258, 262, 277, 284
_INK_SET, _EXTRA, _FORMAT, _NO_DATA = 332, 338, 339, 42113
_WANTED = {_KIND, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _INK_SET, _EXTRA, _FORMAT, _NO_DATA}
_REDUCED, _MASK = 1, 4  # bits of _KIND
_CODES = {1: "B", 2: "c", 3: "H", 4: "I", 16: "Q"}
# More are no tags of an image, and no page of a file that somebody looks at.
_MOST_ENTRIES, _MOST_VALUES, _MOST_PAGES = 4096, 256, 10_000

Tags = Mapping[int, tuple[int, ...]]


class TiffPage(NamedTuple):
    """One page.

    Attributes:
        width: pixels.
        height: pixels.
        bits: of a number, a value a band.
        numbers: UNSIGNED, SIGNED, FLOAT, or another of tag 339, a value a band.
        photometric: what the first bands are: MIN_IS_WHITE, RGB, ...
        num_bands: in all.
        is_planar: whether each band lies by itself.
        extra: what the bands after the colours are: UNSPECIFIED, PREMULTIPLIED, ALPHA.
        is_cmyk: whether separated inks are these four.
        no_data: the number that stands for nothing; None where none does.
    """

    width: int
    height: int
    bits: tuple[int, ...]
    numbers: tuple[int, ...]
    photometric: int
    num_bands: int
    is_planar: bool
    extra: tuple[int, ...]
    is_cmyk: bool
    no_data: float | None


class TiffFile(NamedTuple):
    """A TIFF.

    Attributes:
        page: the one that is read.
        number: its place in the file, from 0.
        num_pages: pages that are no smaller copies and no masks of others.
        num_copies: smaller copies.
        num_masks: masks of what is transparent.
    """

    page: TiffPage
    number: int
    num_pages: int
    num_copies: int
    num_masks: int


def read_tiff(path: Path) -> TiffFile | None:
    """Return what a TIFF says, None for a file that is none.

    Raises:
        DataError: its directories cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(16)
        order: Literal["<", ">"] = "<" if head[:2] == b"II" else ">"
        version = head[2:4] if order == ">" else head[3:1:-1]
        if head[:2] not in (b"II", b"MM") or version not in (b"\0\x2a", b"\0\x2b"):
            return None
        try:
            return _file(_Directories(file, order, is_big=version == b"\0\x2b").read(head))
        except (struct.error, ValueError, OverflowError, OSError) as error:
            raise DataError(
                f"{path}: wanted a TIFF, but its directory cannot be read ({error}). Replace it."
            ) from error


class _Directories:
    """Reads the list of directories, a page each."""

    def __init__(self, file: BinaryIO, order: str, *, is_big: bool) -> None:
        self._file, self._order, self._is_big = file, order, is_big
        self._offset_code = "Q" if is_big else "I"

    def read(self, head: bytes) -> list[Tags]:
        start = 8 if self._is_big else 4
        (at,) = struct.unpack_from(self._order + self._offset_code, head, start)
        seen: set[int] = set()
        pages: list[Tags] = []
        while at and at not in seen and len(pages) < _MOST_PAGES:
            seen.add(at)
            try:
                tags, at = self._page(at)
            except (struct.error, ValueError, OverflowError):
                if not pages:  # of later pages that are cut off, the first knows nothing
                    raise
                break
            pages.append(tags)
        return pages

    def _page(self, at: int) -> tuple[Tags, int]:
        count_code, size = ("Q", 20) if self._is_big else ("H", 12)
        (count,) = self._unpack(count_code, at)
        if count > _MOST_ENTRIES:
            raise ValueError(f"{count} entries")
        start = at + struct.calcsize(count_code)
        tags = dict(entry for number in range(count) if (entry := self._entry(start + size * number)))
        (after,) = self._unpack(self._offset_code, start + size * count)
        return tags, after

    def _entry(self, at: int) -> tuple[int, tuple[int, ...]] | None:
        tag, kind, count = self._unpack("HH" + self._offset_code, at)
        if tag not in _WANTED or kind not in _CODES:
            return None
        count = min(count, _MOST_VALUES)
        place = at + 4 + struct.calcsize(self._offset_code)
        code = self._order + _CODES[kind] * count
        if struct.calcsize(code) > struct.calcsize(self._offset_code):
            (place,) = self._unpack(self._offset_code, place)
        values = self._unpack(_CODES[kind] * count, place)
        return tag, tuple(value[0] if isinstance(value, bytes) else value for value in values)

    def _unpack(self, code: str, at: int) -> tuple[int, ...]:
        self._file.seek(at)
        return struct.unpack(self._order + code, self._file.read(struct.calcsize(self._order + code)))


def _file(pages: list[Tags]) -> TiffFile:
    if not pages:
        raise ValueError("no page")
    kinds = [tags.get(_KIND, (0,))[0] for tags in pages]
    whole = [number for number, kind in enumerate(kinds) if not kind & (_REDUCED | _MASK)]
    chosen = whole[0] if whole else 0
    num_copies = sum(bool(kind & _REDUCED) and not kind & _MASK for kind in kinds)
    num_masks = sum(bool(kind & _MASK) for kind in kinds)
    return TiffFile(_read_page(pages[chosen]), chosen, max(len(whole), 1), num_copies, num_masks)


def _read_page(tags: Tags) -> TiffPage:
    def one(tag: int, otherwise: int) -> int:
        return (tags.get(tag) or (otherwise,))[0]

    num_bands = one(_SAMPLES, 1)
    photometric = one(_PHOTOMETRIC, MIN_IS_BLACK)
    return TiffPage(
        width=one(_WIDTH, 0),
        height=one(_HEIGHT, 0),
        bits=tags.get(_BITS, (1,)),
        numbers=tags.get(_FORMAT, (UNSIGNED,)),
        photometric=photometric,
        num_bands=num_bands,
        is_planar=one(_PLANAR, 1) != 1,
        extra=tags.get(_EXTRA, ()),
        is_cmyk=one(_INK_SET, 1) == 1,
        no_data=_number(bytes(tags.get(_NO_DATA, ()))),
    )


def _number(text: bytes) -> float | None:
    try:
        return float(text.rstrip(b"\0 ").decode("ascii"))
    except ValueError:
        return None
