"""Encoded images waiting to become a store: appended to a file that survives a kill, so that none is made twice."""

import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from eightgig.data.images.streaming import BATCH_SIZE, stream_map
from eightgig.data.store.format import Codec
from eightgig.data.store.rules import Payload, Source

_ROW = struct.Struct("<QQIIB")


class Spooled(NamedTuple):
    """What the journal says of one image: sizes and checksums of its bytes and its mask's, and how it decodes."""

    size: int
    mask_size: int
    crc32: int
    mask_crc32: int
    codec: Codec


def fill_spool(
    path: Path, sources: Sequence[Source], make: Callable[[Source], Payload], on_each: Callable[[], None]
) -> list[Spooled]:
    """Append the images to the file at `path`, each with its mask behind it; give what the journal says of them.

    What an earlier call that was killed has written is kept: the journal beside the file (`.journal`) is written after
    the bytes it tells of, and what it tells is checked against them, so only what is missing is made.

    Args:
        path: of the spool.
        sources: the images, in order; the same ones as in the earlier call.
        make: reads and encodes one.
        on_each: called after each image, also after those that were there.
    """
    journal_path = path.with_suffix(".journal")
    done = _whole(path, journal_path)
    for _ in done:
        on_each()
    waiting: list[Spooled] = []
    num_bytes = sum(each.size + each.mask_size for each in done)
    with _opened_at(path, num_bytes) as spool, _opened_at(journal_path, len(done) * _ROW.size) as journal:
        for number, payload in enumerate(stream_map(make, sources[len(done) :]), start=1):
            spool.write(payload.data)
            spool.write(payload.mask)
            waiting.append(_row(payload))
            if number % BATCH_SIZE == 0:
                _note(spool, journal, waiting)
                done += waiting
                waiting = []
            on_each()
        _note(spool, journal, waiting)
    return done + waiting


def remove_spool(path: Path) -> None:
    """Remove a spool and its journal."""
    for each in (path, path.with_suffix(".journal")):
        each.unlink(missing_ok=True)


def _row(payload: Payload) -> Spooled:
    data, mask = payload.data, payload.mask
    return Spooled(len(data), len(mask), zlib.crc32(data), zlib.crc32(mask), payload.codec)


def _note(spool: IO[bytes], journal: IO[bytes], rows: list[Spooled]) -> None:
    spool.flush()
    journal.write(b"".join(_ROW.pack(*row) for row in rows))
    journal.flush()


def _whole(path: Path, journal_path: Path) -> list[Spooled]:
    """Return the rows of the journal whose bytes are there and have their checksums, up to the first that has not."""
    if not path.is_file() or not journal_path.is_file():
        return []
    journal, done = journal_path.read_bytes(), list[Spooled]()
    with path.open("rb") as spool:
        for at in range(0, len(journal) - _ROW.size + 1, _ROW.size):
            size, mask_size, crc32, mask_crc32, codec = _ROW.unpack_from(journal, at)
            if size + mask_size > os.fstat(spool.fileno()).st_size - spool.tell():
                break
            if (zlib.crc32(spool.read(size)), zlib.crc32(spool.read(mask_size))) != (crc32, mask_crc32):
                break
            done.append(Spooled(size, mask_size, crc32, mask_crc32, Codec(codec)))
    return done


def _opened_at(path: Path, size: int) -> IO[bytes]:
    """Open for appending behind the first `size` bytes; what is behind them goes."""
    path.touch()
    file = path.open("r+b")
    file.truncate(size)
    file.seek(size)
    return file
