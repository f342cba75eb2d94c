"""JPEG: whether the image data are whole, whatever a decoder remarks about the bytes around them.

libjpeg goes on after most faults and tells the first alone. Some of its remarks are about pixels (a bad Huffman code,
data that end too early), others are not (a JFIF revision it does not know, a broken colour profile, stray bytes that
webcams write). To tell them apart, the image data are decoded once more by themselves: tables, frame, scans, and
nothing else. Where the decoder is silent then, every pixel is as it was written.

Source: ITU-T T.81 (1992), annex B; libjpeg-turbo's list of warnings (`JWRN_`) in jerror.h.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import simplejpeg

from eightgig.core.errors import ImageRejectedError
from eightgig.data.images.jpeg_scan import broken_scan

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # neither a stuffed byte, nor a fill byte, nor a restart
_RESTART = re.compile(rb"(\xff[\xd0-\xd7])")
_TEM, _SOS, _APP0, _APP1, _APP14, _DHT, _DAC, _DQT, _DRI = 0x01, 0xDA, 0xE0, 0xE1, 0xEE, 0xC4, 0xCC, 0xDB, 0xDD
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_KEPT = _FRAMES | {_DHT, _DAC, _DQT, _DRI}
_NUM_COEFFICIENTS = 64
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
_YCCK = 2  # Adobe's transform of four channels
_ADOBE_BYTES, _TRANSFORM_AT = 12, 11  # of a marker that libjpeg takes for Adobe's
_EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker")
_EIGHTH = {"min_height": 1, "min_width": 1, "min_factor": 8}  # all of the data are read, a 64th of the pixels made
# Each takes off the stray bytes of one scan or restart interval, and finds it in as many decodings as bisection takes.
_MOST_ROUNDS = 16


class Piece(NamedTuple):
    """Image data without a marker in them, and the segments (or the restart marker) before them."""

    head: bytes
    data: bytes


class JpegParts(NamedTuple):
    """What of a JPEG decides its pixels.

    Attributes:
        colours: what says how its channels are to be understood, written anew: JFIF's or Adobe's marker.
        frame_code: the second byte of the frame's marker; 0 where there is none.
        frame: what the frame says: bits, height, width, components.
        pieces: the image data.
        has_end: whether its end marker is there.
        exif: the EXIF data, with their signature; empty where there are none.
        xmp: the XMP data likewise.
    """

    colours: bytes
    frame_code: int
    frame: bytes
    pieces: tuple[Piece, ...]
    has_end: bool
    exif: bytes
    xmp: bytes

    @property
    def num_channels(self) -> int:
        """Of the frame."""
        return self.frame[5] if len(self.frame) > 5 else 0

    def stream(self, pieces: Sequence[Piece] | None = None) -> bytes:
        """Return the image data as a JPEG without anything around them."""
        chosen = self.pieces if pieces is None else pieces
        return b"".join([_SOI, self._known_colours, *(part for piece in chosen for part in piece), _EOI])

    @property
    def _known_colours(self) -> bytes:
        """Of an Adobe transform that is not known libjpeg takes the usual one, and remarks on it."""
        if not self.colours[:-1].endswith(_ADOBE) or self.colours[-1] <= _YCCK:
            return self.colours
        return self.colours[:-1] + bytes([_YCCK if self.num_channels == 4 else 1])


def split_jpeg(data: bytes) -> JpegParts:
    """Return the parts of a JPEG; what is missing is empty. It never fails."""
    splitter = _Splitter(data)
    while splitter.step():
        pass
    return JpegParts(
        colours=splitter.jfif + splitter.adobe,
        frame_code=splitter.frame_code,
        frame=splitter.frame,
        pieces=tuple(splitter.pieces),
        has_end=splitter.has_end,
        exif=splitter.exif,
        xmp=splitter.xmp,
    )


class _Splitter:
    """Goes from marker to marker."""

    def __init__(self, data: bytes) -> None:
        self.jfif = self.adobe = self.frame = self.exif = self.xmp = b""
        self.pieces: list[Piece] = []
        self.frame_code, self.has_end = 0, False
        self._data, self._at, self._head = data, len(_SOI), b""

    def step(self) -> bool:
        """Take the next segment; tell whether there may be another."""
        found = _NEXT_MARKER.search(self._data, self._at)
        if found is None:
            return False
        code, start = self._data[found.end() - 1], found.end()
        if code == _EOI[1]:
            self.has_end = True
            return False
        if code == _SOI[1]:  # another image, such as a thumbnail in metadata whose length is wrong
            return False
        if code == _TEM:  # without a length
            self._at = start
            return True
        length = max(int.from_bytes(self._data[start : start + 2]), 2)
        self._at = start + length
        if self._at > len(self._data):
            return False
        self._take(code, self._data[start + 2 : self._at], self._data[found.start() : self._at])
        return True

    def _take(self, code: int, body: bytes, segment: bytes) -> None:
        if code == _SOS:
            self._take_scan(segment)
        elif code in _KEPT:
            self._head += segment
            if code in _FRAMES and not self.frame_code:
                self.frame_code, self.frame = code, body
        elif code == _APP0 and body.startswith(b"JFIF\0"):
            self.jfif = _JFIF
        elif code == _APP14 and body.startswith(b"Adobe") and len(body) >= _ADOBE_BYTES:
            self.adobe = _ADOBE + body[_TRANSFORM_AT : _TRANSFORM_AT + 1]
        elif code == _APP1 and body.startswith(b"Exif\0\0"):
            self.exif = self.exif or body
        elif code == _APP1 and body.startswith(_XMP):
            self.xmp = self.xmp or body

    def _take_scan(self, segment: bytes) -> None:
        end = _NEXT_MARKER.search(self._data, self._at)
        stop = end.start() if end else len(self._data)
        head = self._head + _scan_header(segment, self.frame_code)
        self.pieces += _intervals(head, self._data[self._at : stop])
        self._head, self._at = b"", stop


def require_whole(data: bytes) -> None:
    """Refuse a JPEG of which pixels are missing or wrong, by what can be known of it.

    Raises:
        ImageRejectedError: `truncated` or `damaged`.
    """
    parts = split_jpeg(data)
    if not parts.pieces:
        raise ImageRejectedError("truncated", "the file ends before its image data begin")
    if not (parts.has_end or _has_all_scans(parts)):
        raise ImageRejectedError("truncated", "the file ends before all of its scans")
    pieces = list(parts.pieces)
    for number in range(_MOST_ROUNDS):
        remark = _remark(parts, pieces)
        if not remark:
            return
        found = _EXTRANEOUS.match(remark)
        if found is None:
            reason = "damaged" if parts.has_end else "truncated"
            raise ImageRejectedError(reason, remark)
        if number == 0 and (why := broken_scan(parts.frame_code, parts.frame, parts.pieces)):
            raise ImageRejectedError("damaged", f"{remark}, and {why}")
        place = _first_with_extraneous(parts, pieces)
        pieces[place] = pieces[place]._replace(data=pieces[place].data[: -int(found[1])])
    raise ImageRejectedError("damaged", "stray bytes in many places of its image data")


def scans_alone(data: bytes) -> bytes:
    """Return the image data as a JPEG without anything around them."""
    return split_jpeg(data).stream()


def decode_scans(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the pixels of the image data alone, uint8 height x width x 3, without a look at what is damaged.

    Raises:
        ValueError: not even that can be decoded.
    """
    return np.asarray(simplejpeg.decode_jpeg(scans_alone(data), "RGB", strict=False), dtype=np.uint8)


def jpeg_remark(data: bytes, num_channels: int) -> str:
    """Return the decoder's first remark about a JPEG, an empty text where it has none; makes few pixels."""
    try:
        simplejpeg.decode_jpeg(data, "CMYK" if num_channels == 4 else "RGB", strict=True, **_EIGHTH)
    except ValueError as error:
        return str(error) or "cannot be decoded"
    return ""


def _remark(parts: JpegParts, pieces: Sequence[Piece]) -> str:
    return jpeg_remark(parts.stream(pieces), parts.num_channels)


def _first_with_extraneous(parts: JpegParts, pieces: Sequence[Piece]) -> int:
    """Find the piece that ends in stray bytes: of all beginnings that hold it, the shortest."""
    low, high = 1, len(pieces)
    while low < high:
        middle = (low + high) // 2
        if _EXTRANEOUS.match(_remark(parts, pieces[:middle])):
            high = middle
        else:
            low = middle + 1
    return low - 1


def _intervals(head: bytes, data: bytes) -> list[Piece]:
    """Divide a scan at its restart markers; bytes of 255 before a marker fill up and mean nothing."""
    first, *more = _RESTART.split(data)
    rest = [Piece(marker, part.rstrip(b"\xff")) for marker, part in zip(more[::2], more[1::2], strict=True)]
    return [Piece(head, first.rstrip(b"\xff")), *rest]


def _scan_header(segment: bytes, frame_code: int) -> bytes:
    """Write the spectral range of a sequential scan as it must be; decoders do not use it, and some cameras write 0."""
    if frame_code in _PROGRESSIVE or len(segment) < 8:
        return segment
    return segment[:-3] + bytes((0, _NUM_COEFFICIENTS - 1, 0))


def _has_all_scans(parts: JpegParts) -> bool:
    """Tell whether each channel was sent, and of a progressive image each coefficient to its last bit."""
    wanted = {parts.frame[at] for at in range(6, 6 + 3 * parts.num_channels, 3) if at < len(parts.frame)}
    final: dict[int, set[int]] = {channel: set() for channel in wanted}
    for piece in parts.pieces:
        at = piece.head.rfind(b"\xff" + bytes([_SOS]))
        header = piece.head[at + 4 :] if at >= 0 else b""
        count = header[0] if header else 0
        if len(header) < 4 + 2 * count or not count:
            continue
        first, last, bits = header[1 + 2 * count : 4 + 2 * count]
        for channel in header[1 : 1 + 2 * count : 2]:
            if bits & 15 == 0 or parts.frame_code not in _PROGRESSIVE:
                final.setdefault(channel, set()).update(range(first, last + 1))
    return bool(wanted) and all(len(final[channel]) == _NUM_COEFFICIENTS for channel in wanted)
