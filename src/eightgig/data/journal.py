"""What inspecting each file gave, written down as it goes: a run that was killed does not open these files again."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from eightgig.core.errors import ImageRejectedError
from eightgig.data.atomic import exclusive
from eightgig.data.images import Inspection
from eightgig.data.streaming import BATCH_SIZE, stream_map

Inspected = Inspection | ImageRejectedError
Inspect = Callable[[str], Inspected]
_VERSION = 1


def inspect_with_journal(
    journal: Path | None, root: Path, paths: Sequence[str], inspect: Inspect, recipe: str
) -> Iterator[Inspected]:
    """Yield what `inspect` gives for each path, in their order.

    The journal is a text file of JSON lines, in the order of the paths. As long as its lines tell of the same files
    (path, size and time of change, as rsync compares them), these are not opened again; from the first other line on
    it is written anew. It stays, so that a run that is killed later need not look again either.

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
    journal.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(journal):
        journal.touch()
        with journal.open("r+b") as file:
            yield from _continued(file, root, paths, inspect, recipe)


def _continued(file: IO[bytes], root: Path, paths: Sequence[str], inspect: Inspect, recipe: str) -> Iterator[Inspected]:
    header = _line([_VERSION, recipe])
    num_known, end = 0, len(header)
    if file.readline() == header:
        for found, end in _known(file, root, paths):  # noqa: B007 - the last end is where new lines go
            yield found
            num_known += 1
    file.seek(end)
    file.truncate()
    if end == len(header):
        file.seek(0)
        file.write(header)
    rest = paths[num_known:]
    for number, (path, found) in enumerate(zip(rest, stream_map(inspect, rest), strict=True), start=1):
        file.write(_line([path, *_stamp(root / path), _noted(found)]))
        if number % BATCH_SIZE == 0:
            file.flush()
        yield found


def _known(file: IO[bytes], root: Path, paths: Sequence[str]) -> Iterator[tuple[Inspected, int]]:
    """Yield what the journal says of the first files, and where its line ends, up to the first that differs."""
    for path in paths:
        try:
            line = file.readline()
            name, *stamp, noted = json.loads(line)
            if not line.endswith(b"\n") or name != path or tuple(stamp) != _stamp(root / path):
                return
            found = _read(noted)
        except (ValueError, TypeError, KeyError):  # cut short by a kill, or damaged
            return
        yield found, file.tell()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


def _noted(found: Inspected) -> object:
    return found.model_dump() if isinstance(found, Inspection) else [found.reason, found.detail]


def _read(noted: object) -> Inspected:
    if isinstance(noted, dict):
        return Inspection(**noted)
    if isinstance(noted, list) and len(noted) == 2 and all(isinstance(text, str) for text in noted):
        return ImageRejectedError(*noted)
    raise ValueError("neither an inspection nor a reason")


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
