"""Whether bytes that a JPEG decoder left over are strays, or image data that lost their place.

Where bytes inside a scan are changed, the Huffman code mostly falls into step again some blocks later, and a decoder
reaches its last block too early: the rest is left over, as if it were stray bytes behind a whole image. Here the
codes are followed block by block (sequential Huffman coding alone), which shows what decoders do not look at:
coefficients beyond the 64th, brightness beyond its range, and left-over bytes that are blocks to the very last bit.

Source: ITU-T T.81 (1992), annexes C and F; F.1.2.3: the last byte is filled up with ones.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

_HUFFMAN_SEQUENTIAL = (0xC0, 0xC1)
_SOS, _DHT, _DQT, _DRI = 0xDA, 0xC4, 0xDB, 0xDD
_WINDOW_BITS = 16  # the longest code
_LAST = 63
_MOST_DC = 1024  # eight times the mean of a block whose values are -128 to 127
# Following the codes takes some half a second a megabyte; it is asked for few files, but these may be huge.
_MOST_BYTES = 8 * 2**20

Table = list[int]
"""For each 16 bits that may follow: length of code and value together, with 256 times what it does; 0 is no code."""


class _Block(NamedTuple):
    channel: int
    dc: Table
    ac: Table
    most_dc: int


class _Scan(NamedTuple):
    blocks: list[_Block]
    num_units: int
    units_each: int


def broken_scan(frame_code: int, frame: bytes, pieces: Sequence[tuple[bytes, bytes]]) -> str:
    """Return what shows that the image data lost their place; an empty text where nothing does.

    Args:
        frame_code: the second byte of the frame's marker.
        frame: what the frame says.
        pieces: segments, and the image data after them; within a scan the segments are a restart marker.
    """
    if frame_code not in _HUFFMAN_SEQUENTIAL or sum(len(data) for _, data in pieces) > _MOST_BYTES:
        return ""
    reader = _Reader(frame)
    try:
        for scan, left, data in reader.scans(pieces):
            units = min(left, scan.units_each)
            if why := _follow(data.replace(b"\xff\0", b"\xff"), scan.blocks, units):
                return why
    except (IndexError, KeyError, ValueError, ZeroDivisionError):  # not as it should be: decoders will say so
        return ""
    return ""


class _Reader:
    """Keeps the tables that segments define."""

    def __init__(self, frame: bytes) -> None:
        self._frame, self._tables, self._quantum = frame, dict[int, tuple[Table, Table]](), dict[int, int]()
        self._restart = 0

    def scans(self, pieces: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[_Scan, int, bytes]]:
        """Yield for each piece its scan, how many units of it are still to come, and its data."""
        scan, left = _Scan([], 0, 1), 0
        for head, data in pieces:
            if len(head) > 2:
                scan = self._begin(head)
                left = scan.num_units
            yield scan, left, data
            left -= min(left, scan.units_each)

    def _begin(self, head: bytes) -> _Scan:
        at = 0
        while True:
            code, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4])
            body, at = head[at + 4 : at + 2 + length], at + 2 + length
            if code == _DHT:
                self._define(body)
            elif code == _DQT:
                self._quantise(body)
            elif code == _DRI:
                self._restart = int.from_bytes(body[:2])
            elif code == _SOS:
                return self._scan(body)

    def _define(self, body: bytes) -> None:
        while body:
            counts = body[1:17]
            num_values = sum(counts)
            self._tables[body[0]] = _tables(counts, body[17 : 17 + num_values])
            body = body[17 + num_values :]

    def _quantise(self, body: bytes) -> None:
        while body:
            size = 2 if body[0] >> 4 else 1
            self._quantum[body[0] & 15] = int.from_bytes(body[1 : 1 + size])
            body = body[1 + 64 * size :]

    def _scan(self, body: bytes) -> _Scan:
        height, width = int.from_bytes(self._frame[1:3]), int.from_bytes(self._frame[3:5])
        sizes = {self._frame[at]: (self._frame[at + 1] >> 4, self._frame[at + 1] & 15, self._frame[at + 2])
                 for at in range(6, 6 + 3 * self._frame[5], 3)}  # fmt: skip
        most_h, most_v = max(h for h, *_ in sizes.values()), max(v for _, v, _ in sizes.values())
        chosen = [(body[at], body[at + 1]) for at in range(1, 1 + 2 * body[0], 2)]
        blocks: list[_Block] = []
        for channel, tables in chosen:
            h, v, quantum_id = sizes[channel]
            quantum = self._quantum[quantum_id]
            block = _Block(
                channel, self._tables[tables >> 4][0], self._tables[0x10 | tables & 15][1], _MOST_DC // quantum + 1
            )
            blocks += [block] * (h * v if len(chosen) > 1 else 1)
        if len(chosen) > 1:
            num_units = _ceil(width, 8 * most_h) * _ceil(height, 8 * most_v)
        else:
            h, v, _ = sizes[chosen[0][0]]
            num_units = _ceil(_ceil(width * h, most_h), 8) * _ceil(_ceil(height * v, most_v), 8)
        return _Scan(blocks, num_units, self._restart or num_units)


def _ceil(number: int, by: int) -> int:
    return -(-number // by)


def _tables(counts: bytes, values: bytes) -> tuple[Table, Table]:
    """Return a Huffman table as for the first coefficient (value: bits that follow) and as for the others."""
    whole = 1 << _WINDOW_BITS
    first, other = np.zeros(whole, np.int64), np.zeros(whole, np.int64)
    at, place = 0, 0
    for length, count in enumerate(counts, start=1):
        for value in values[place : place + count]:
            stop = at + (1 << (_WINDOW_BITS - length))
            first[at:stop] = length | value << 8
            run, size = value >> 4, value & 15
            step = _LAST + 1 if value == 0 else run + 1
            other[at:stop] = length + size | step << 8
            at = stop
        place += count
    return first.tolist(), other.tolist()


def _follow(data: bytes, blocks: Sequence[_Block], num_units: int) -> str:
    """Follow the codes of one restart interval; say what is wrong with them."""
    num_bits, padded = 8 * len(data), data + bytes(16)
    at, levels = 0, dict.fromkeys((block.channel for block in blocks), 0)
    for _ in range(num_units):
        at, why = _unit(padded, at, blocks, levels)
        if why:
            return why
        if at > num_bits:  # decoders will say so
            return ""
    left = num_bits - at
    filling = _bits(padded, at, left % 8)
    if filling not in (0, (1 << left % 8) - 1):
        return "the last block does not end where its byte is filled up"
    return (
        "the bytes that are left over are blocks of an image"
        if left >= 8 and _runs_out(padded, at, num_bits, blocks, levels)
        else ""
    )


def _runs_out(data: bytes, at: int, num_bits: int, blocks: Sequence[_Block], levels: dict[int, int]) -> bool:
    """Tell whether more units follow, up to the last bit, which ones fill up."""
    while at < num_bits:
        at, why = _unit(data, at, blocks, levels)
        if why:
            return False
        left = num_bits - at
        if 0 <= left < 8 and _bits(data, at, left) == (1 << left) - 1:
            return True
    return False


def _unit(data: bytes, at: int, blocks: Sequence[_Block], levels: dict[int, int]) -> tuple[int, str]:
    """Follow the codes of one unit's blocks from bit `at`; give where it ends."""
    window: Any = int.from_bytes
    for block in blocks:
        byte = at >> 3
        entry = block.dc[window(data[byte : byte + 3]) >> (8 - (at & 7)) & 0xFFFF]
        size = entry >> 8
        if not entry or size > _WINDOW_BITS:
            return at, "a code in it is none"
        at += (entry & 255) + size
        levels[block.channel] += _signed(_bits(data, at - size, size), size)
        if abs(levels[block.channel]) > block.most_dc:
            return at, "its brightness leaves its range"
        place = 0
        while place < _LAST:
            byte = at >> 3
            entry = block.ac[window(data[byte : byte + 3]) >> (8 - (at & 7)) & 0xFFFF]
            if not entry:
                return at, "a code in it is none"
            at += entry & 255
            place += entry >> 8
        if _LAST < place <= _LAST + 16 and entry >> 8 <= 16:
            return at, "a block has more than 64 coefficients"
    return at, ""


def _bits(data: bytes, at: int, count: int) -> int:
    byte = at >> 3
    return int.from_bytes(data[byte : byte + 4]) >> (32 - (at & 7) - count) & ((1 << count) - 1)


def _signed(value: int, size: int) -> int:
    return value if not size or value >> (size - 1) else value - (1 << size) + 1
