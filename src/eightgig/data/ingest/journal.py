"""What inspecting each file gave, written down as it goes: a run that was killed does not open these files again."""

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from eightgig.core.errors import ImageRejectedError
from eightgig.data.images.decoding import Inspection
from eightgig.data.images.streaming import stream_map
from eightgig.data.store.atomic import exclusive

Inspected = Inspection | ImageRejectedError
Inspect = Callable[[str], Inspected]
Stamp = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds: where both are equal, so is the file (rsync's rule)."""

_VERSION, _BLOCK_SIZE = 3, 256  # another version where the same file would be judged otherwise
_FLEETING = "unreadable"  # a right that is given, or a disk that is back, does not change the file's time


def inspect_with_journal(
    journal: Path | None, root: Path, paths: Sequence[str], inspect: Inspect, recipe: str
) -> Iterator[Inspected]:
    """Yield what `inspect` gives for each path, in their order; files that the journal knows are not opened.

    The journal is a text file of JSON lines: the recipe, then one line a file with its size, its time of change and
    what was found, written before the result is given. It stays after the run, so that the next one opens only what is
    new or changed. Files that could not be read at all are tried again.

    Args:
        journal: None keeps none.
        root: what the paths are relative to.
        paths: of the files.
        inspect: opens one.
        recipe: what else decides the outcome; with another one the journal begins anew.

    Raises:
        StoreError: another process is writing the journal.
    """
    if journal is None:
        yield from stream_map(inspect, paths)
        return
    with exclusive(journal):
        journal.touch()
        with journal.open("r+b") as file:
            notes = _Notes(file, recipe)
            for start in range(0, len(paths), _BLOCK_SIZE):
                yield from _block(notes, root, paths[start : start + _BLOCK_SIZE], inspect)


def stamp_of(path: Path) -> Stamp:
    """Return what tells whether a file has changed; (-1, -1) where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


def _block(notes: "_Notes", root: Path, paths: Sequence[str], inspect: Inspect) -> Iterator[Inspected]:
    stamps = [stamp_of(root / path) for path in paths]  # before the files are opened: a change meanwhile will show
    known = [notes.recall(path, stamp) for path, stamp in zip(paths, stamps, strict=True)]
    found = stream_map(inspect, [path for path, result in zip(paths, known, strict=True) if result is None])
    for path, stamp, recalled in zip(paths, stamps, known, strict=True):
        if recalled is not None:
            yield recalled
            continue
        result = next(found)
        notes.add(path, stamp, result)
        yield result


class _Notes:
    """The lines of a journal. They stay in the file; for each, 16 bytes are held that tell where it is."""

    def __init__(self, file: IO[bytes], recipe: str) -> None:
        self._file = file
        keys, places = array("q"), array("q")
        header = _line([_VERSION, recipe])
        end = len(header) if file.readline() == header else 0
        for line in file if end else ():
            path = _path_of(line)
            if path is None:  # cut short by a kill
                break
            keys.append(_key(path))
            places.append(end)
            end += len(line)
        file.seek(end)
        file.truncate()
        if not end:
            file.write(header)
        order = np.argsort(np.asarray(keys), kind="stable")  # of two lines on one file, the later comes last
        self._keys, self._places = np.asarray(keys)[order], np.asarray(places)[order]

    def recall(self, path: str, stamp: Stamp) -> Inspected | None:
        """Return what was found, unless the file is unknown or has changed."""
        rank = int(np.searchsorted(self._keys, _key(path), side="right")) - 1
        if rank < 0 or self._keys[rank] != _key(path):
            return None
        self._file.seek(int(self._places[rank]))
        try:
            name, size, changed_ns, *found = json.loads(self._file.readline())
            return _inspected(found) if (name, size, changed_ns) == (path, *stamp) else None
        except (ValueError, TypeError, RecursionError):  # damaged, yet still a line
            return None

    def add(self, path: str, stamp: Stamp, found: Inspected) -> None:
        """Write down what was found."""
        if isinstance(found, ImageRejectedError) and found.reason == _FLEETING:
            return
        values = [*dict(found).values()] if isinstance(found, Inspection) else [found.reason, found.detail]
        self._file.seek(0, 2)
        self._file.write(_line([path, *stamp, *values]))
        self._file.flush()


def _key(path: str) -> int:
    digest = hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _path_of(line: bytes) -> str | None:
    try:
        path = json.loads(line)[0] if line.endswith(b"\n") else None
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return path if isinstance(path, str) else None


def _inspected(found: Sequence[str]) -> Inspected:
    if len(found) == 2:
        return ImageRejectedError(*map(str, found))
    return Inspection.model_validate(dict(zip(Inspection.model_fields, found, strict=True)))


def _line(values: Sequence[object]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"
