"""A mask written as a palette PNG, some rows at a time."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from eightgig.core.files import atomic_write
from eightgig.data.store.masks import VOID, Labels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE, _BITS, _UP = 3, 8, 2
_LEVEL, _PIECE_BYTES = 6, 1 << 20


class MaskPng:
    """Writes labels from top to bottom; any viewer shows them in the classes' colours.

    Source: the PNG specification (W3C, 2003): signature, IHDR, PLTE, IDAT, IEND, each chunk with its CRC.
    """

    def __init__(self, file: BinaryIO, width: int, height: int, colours_K3: NDArray[np.uint8]) -> None:
        self._file, self._above_W = file, np.zeros(width, np.uint8)
        self._deflate = zlib.compressobj(_LEVEL)
        self._waiting = bytearray()
        file.write(_SIGNATURE)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, _BITS, _PALETTE, 0, 0, 0))
        palette = np.broadcast_to(colours_K3[-1], (VOID + 1, 3)).copy()
        palette[: len(colours_K3) - 1] = colours_K3[:-1]
        self._chunk(b"PLTE", palette.tobytes())

    def write(self, labels_RW: Labels) -> None:
        """Write the next rows."""
        if not len(labels_RW):
            return
        filtered_RW = np.empty((labels_RW.shape[0], labels_RW.shape[1] + 1), np.uint8)
        filtered_RW[:, 0] = _UP  # each row as its difference from the one above: mostly zeros
        above_RW = np.concatenate([self._above_W[None], labels_RW[:-1]])
        np.subtract(labels_RW, above_RW, out=filtered_RW[:, 1:])
        self._above_W = labels_RW[-1].copy()
        self._waiting += self._deflate.compress(filtered_RW.data)
        if len(self._waiting) >= _PIECE_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._waiting += self._deflate.flush()
        self._flush()
        self._chunk(b"IEND", b"")

    def _flush(self) -> None:
        self._chunk(b"IDAT", bytes(self._waiting))
        self._waiting.clear()

    def _chunk(self, name: bytes, data: bytes) -> None:
        self._file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))


@contextmanager
def open_mask_png(path: Path, width: int, height: int, colours_K3: NDArray[np.uint8]) -> Iterator[MaskPng]:
    """Yield a writer of the mask at `path`, which appears when the block ends well.

    Args:
        path: of the PNG.
        width: pixels.
        height: pixels; as many rows must be written.
        colours_K3: uint8, a colour a class, the last one for void.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        png = MaskPng(file, width, height, colours_K3)
        yield png
        png.close()
