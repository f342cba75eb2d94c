"""What reading each file gave, written down as it goes: a run that was killed does not read these files again."""

import hashlib
import json
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from eightgig.data.store.atomic import exclusive

Stamp = tuple[int, ...]
"""Size in bytes and time of the last change in nanoseconds: where both are equal, so is the file (rsync's rule)."""

_VERSION = 3  # another one where the same file would be judged otherwise


@contextmanager
def open_journal(path: Path | None, recipe: str) -> Iterator["Journal"]:
    """Yield the journal at `path`, which nobody else writes meanwhile; without a path, one that keeps nothing.

    It is a text file of JSON lines: the recipe, then one line a file (or a block of its rows) with its size, its time
    of change and what was found. It stays after the run, so that the next one reads only what is new or changed.

    Args:
        path: of the file.
        recipe: what besides the files decides what is found; with another one the journal begins anew.

    Raises:
        StoreError: another process is writing it.
    """
    if path is None:
        yield Journal()
        return
    with exclusive(path):
        path.touch()
        with path.open("r+b") as file:
            yield _FileJournal(file, recipe)


def stamp_of(path: Path) -> Stamp:
    """Return what tells whether a file has changed; (-1, -1) where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


class Journal:
    """A journal that keeps nothing."""

    def recall(self, key: str, stamp: Stamp) -> list[Any] | None:  # noqa: ARG002
        """Return what was found, or None where the file is unknown or has changed."""
        return None

    def add(self, key: str, stamp: Stamp, values: Sequence[object]) -> None:
        """Write down what was found: texts, numbers, and lists of such."""


class _FileJournal(Journal):
    """The lines stay in the file; for each, 16 bytes are held that tell where it is."""

    def __init__(self, file: IO[bytes], recipe: str) -> None:
        self._file = file
        keys, places = array("q"), array("q")
        header = _line([_VERSION, recipe])
        end = len(header) if file.readline() == header else 0
        for line in file if end else ():
            key = _key_of(line)
            if key is None:  # cut short by a kill
                break
            keys.append(_number(key))
            places.append(end)
            end += len(line)
        file.seek(end)
        file.truncate()
        if not end:
            file.write(header)
        order = np.argsort(np.asarray(keys), kind="stable")  # of two lines on one file, the later comes last
        self._keys, self._places = np.asarray(keys)[order], np.asarray(places)[order]

    def recall(self, key: str, stamp: Stamp) -> list[Any] | None:
        """Return what was found, unless the file is unknown or has changed."""
        rank = int(np.searchsorted(self._keys, _number(key), side="right")) - 1
        if rank < 0 or self._keys[rank] != _number(key):
            return None
        self._file.seek(int(self._places[rank]))
        try:
            name, *rest = json.loads(self._file.readline())
        except (ValueError, TypeError, RecursionError):  # damaged, yet still a line
            return None
        is_same = name == key and rest[: len(stamp)] == [*stamp]
        return rest[len(stamp) :] if is_same else None

    def add(self, key: str, stamp: Stamp, values: Sequence[object]) -> None:
        """Write down what was found, before it is given on."""
        self._file.seek(0, 2)
        self._file.write(_line([key, *stamp, *values]))
        self._file.flush()


def _number(key: str) -> int:
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _key_of(line: bytes) -> str | None:
    try:
        key = json.loads(line)[0] if line.endswith(b"\n") else None
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return key if isinstance(key, str) else None


def _line(values: Sequence[object]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"
