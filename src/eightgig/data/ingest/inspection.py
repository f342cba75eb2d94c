"""One inspection for all kinds of data: everything is read once, written down as it goes, and judged.

A kind brings a reader (which entries there are, and how one is read) and a checker (what of it is kept, what is refused
and why). The journal holds what was read, not how it was judged: a checker may be told of labels, splits and limits
that are others than in the run that was killed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import pandas as pd

from eightgig.core.errors import ImageRejectedError
from eightgig.core.progress import Report
from eightgig.core.records import Record
from eightgig.data.images.streaming import stream_map
from eightgig.data.ingest.findings import Finding
from eightgig.data.ingest.journal import Journal, Stamp, open_journal, stamp_of

Entry = TypeVar("Entry")
Found = TypeVar("Found")
Row = TypeVar("Row")
Entry_co = TypeVar("Entry_co", covariant=True)
Found_co = TypeVar("Found_co", covariant=True)
Read = TypeVar("Read", bound=Record)
ReadRow = TypeVar("ReadRow", bound="RowRecord")

FLEETING = frozenset({"unreadable", "unreadable_mask"})
"""Reasons that are tried again: a right that is given, or a disk that is back, does not change the file's time."""
_FILES_AT_A_TIME = 256
_ROWS_A_BLOCK = 1024  # a line of the journal, some 100 KB


class Reader(Protocol[Entry_co, Found_co]):
    """Reads all entries of a kind."""

    @property
    def recipe(self) -> str:
        """What besides the files decides what is read; with another one the journal begins anew."""

    @property
    def total(self) -> int | None:
        """Number of entries; None where nobody knows before they are read."""

    def found(self, journal: Journal) -> Iterator[tuple[Entry_co, Found_co]]:
        """Yield each entry with what was read of it, in a fixed order; what the journal knows is not read."""


class RowRecord(Record):
    """What was read of a row; `reason` and `detail` are empty unless it is refused."""

    reason: str = ""
    detail: str = ""


class Inspected(NamedTuple):
    """What is kept, a row an entry with the columns that were asked for, and the findings in their order."""

    accepted: pd.DataFrame
    findings: list[Finding]


def inspect(
    reader: Reader[Entry, Found],
    check: Callable[[Entry, Found], Iterable[Mapping[str, object] | Finding]],
    columns: Sequence[str],
    *,
    journal: Path | None = None,
    report: Report | None = None,
) -> Inspected:
    """Return what a checker keeps of what a reader reads, by columns: rows as objects take several times more memory.

    Args:
        reader: of a kind.
        check: gives the row of an entry that is kept, with more than the columns if it likes, and findings on it.
        columns: that are collected.
        journal: where what was read is written down as it goes, so that after a kill none of it is read again; None
            does not.
        report: told (done, all).

    Raises:
        StoreError: another process is writing the journal.
    """
    accepted: dict[str, list[object]] = {name: [] for name in columns}
    findings: list[Finding] = []
    with open_journal(journal, reader.recipe) as notes:
        for number, (entry, found) in enumerate(reader.found(notes), start=1):
            for made in check(entry, found):
                if isinstance(made, Finding):
                    findings.append(made)
                    continue
                for name, values in accepted.items():
                    values.append(made[name])
            if report:
                report(number, reader.total)
    return Inspected(pd.DataFrame(accepted, dtype=None if any(accepted.values()) else object), findings)


@dataclass(frozen=True)
class FileReader(Generic[Entry, Read]):
    """Reads entries that are a file each, or a few, in threads; memory does not grow with their number.

    Attributes:
        root: what the files are relative to.
        entries: in their order.
        files: of an entry; when one of them changes, the entry is read again.
        read: an entry.
        record: that `read` gives, of other than two fields.
        recipe: see `Reader`.
    """

    root: Path
    entries: Sequence[Entry]
    files: Callable[[Entry], tuple[str, ...]]
    read: Callable[[Entry], Read | ImageRejectedError]
    record: type[Read]
    recipe: str

    @property
    def total(self) -> int:
        """Number of entries."""
        return len(self.entries)

    def found(self, journal: Journal) -> Iterator[tuple[Entry, Read | ImageRejectedError]]:
        """Yield each entry with what was read of it, or why it cannot be."""
        for start in range(0, len(self.entries), _FILES_AT_A_TIME):
            yield from self._window(journal, self.entries[start : start + _FILES_AT_A_TIME])

    def _window(self, journal: Journal, entries: Sequence[Entry]) -> Iterator[tuple[Entry, Read | ImageRejectedError]]:
        places = [self._place(entry) for entry in entries]  # before they are read: a change meanwhile will show
        known = [self._restored(journal.recall(*place)) for place in places]
        fresh = stream_map(self.read, [entry for entry, found in zip(entries, known, strict=True) if found is None])
        for entry, place, recalled in zip(entries, places, known, strict=True):
            if recalled is not None:
                yield entry, recalled
                continue
            found = next(fresh)
            if not (isinstance(found, ImageRejectedError) and found.reason in FLEETING):
                journal.add(*place, _values(found))
            yield entry, found

    def _place(self, entry: Entry) -> tuple[str, Stamp]:
        names = self.files(entry)
        stamps = [stamp_of(self.root / name) for name in names]
        return "\0".join(names), tuple(number for stamp in stamps for number in stamp)

    def _restored(self, values: list[Any] | None) -> Read | ImageRejectedError | None:
        if values is None:
            return None
        return ImageRejectedError(*map(str, values)) if len(values) == 2 else _record(self.record, values)


@dataclass(frozen=True)
class RowReader(Generic[Entry, Row, ReadRow]):
    """Reads files of any number of rows, one after the other; blocks of rows are what the journal holds.

    A file of which all blocks are known is not opened. Of one that a kill has cut, the rows that are known are passed
    over: to find the next one they are cut out of the file again, but not read.

    Attributes:
        root: what the files are relative to.
        entries: a file each, in their order; asked for when the journal is open.
        file: of an entry.
        rows: of an entry, in their order.
        read: a row.
        record: that `read` gives.
        recipe: see `Reader`.
    """

    root: Path
    entries: Callable[[], Iterable[Entry]]
    file: Callable[[Entry], str]
    rows: Callable[[Entry], Iterator[Row]]
    read: Callable[[Row], ReadRow]
    record: type[ReadRow]
    recipe: str
    total: None = None

    def found(self, journal: Journal) -> Iterator[tuple[Entry, ReadRow]]:
        """Yield each row that was read, with its file."""
        for entry in self.entries():
            for found in self._found(journal, entry):
                yield entry, found

    def _found(self, journal: Journal, entry: Entry) -> Iterator[ReadRow]:
        name, rows = self.file(entry), None
        stamp = stamp_of(self.root / name)
        for number in count():
            key = f"{name}\0{number}" if number else name
            # Once the file is open it is read to its end: a block that is passed over would leave `rows` behind.
            block = self._restored(journal.recall(key, stamp)) if rows is None else None
            if block is None:
                rows = rows or islice(self.rows(entry), number * _ROWS_A_BLOCK, None)
                block = [self.read(row) for row in islice(rows, _ROWS_A_BLOCK)]
                if not any(found.reason in FLEETING for found in block):
                    journal.add(key, stamp, [_values(found) for found in block])
            yield from block
            if len(block) < _ROWS_A_BLOCK:
                return

    def _restored(self, values: list[Any] | None) -> list[ReadRow] | None:
        if values is None:
            return None
        found = [_record(self.record, row) for row in values]
        return None if None in found else [each for each in found if each is not None]


def _values(found: Record | ImageRejectedError) -> list[object]:
    return [found.reason, found.detail] if isinstance(found, ImageRejectedError) else [*dict(found).values()]


def _record(kind: type[Read], values: Any) -> Read | None:
    """Return the record of a journal's values; None where they are damaged."""
    try:
        return kind.model_validate(dict(zip(kind.model_fields, values, strict=True)))
    except (ValueError, TypeError):
        return None
