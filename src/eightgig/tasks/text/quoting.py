"""Whether quotation marks in a table quote: a mark that is never closed must not swallow the rows behind it."""

import csv
from collections.abc import Iterator
from pathlib import Path

from eightgig.core.errors import DataError
from eightgig.tasks.text.cells import label_of
from eightgig.tasks.text.columns import Columns, find_columns, plain_name
from eightgig.tasks.text.delimited import Delimited, Quoting, dialect, room, unclosed
from eightgig.tasks.text.encodings import lines_up_to, opened_text
from eightgig.tasks.text.parameters import TextDataParameters

_MOST_SUSPECTS = 1000  # remembered until all labels are known; one is enough to decide
_MOST_LABELS = 10_000
_MOST_NAMED = 8
_MARK = '"'


def find_quoting(path: Path, how: Delimited, data: TextDataParameters) -> Quoting:
    """Return what quotation marks at the beginning of cells mean in a table, having read it once or twice.

    They quote where every one that opens a cell closes it, and none spans lines that are rows by themselves: most with
    as many cells as the header, and a label that other rows have.
    Tables with tabs mostly have no quoting, so there marks that do not hold mean nothing; elsewhere they are an error.

    Raises:
        DataError: a quotation mark is not closed, or spans whole rows.
    """
    if not _has_marks(path, how, data):
        return "doubled"
    failed: DataError | None = None
    for quoting in ("doubled", "backslash"):
        if quoting == "backslash" and not _has_marks(path, how, data, '\\"'):
            continue
        try:
            _require_quoting(path, how.model_copy(update={"quoting": quoting}), data)
            return quoting
        except DataError as error:
            failed = failed or error
    if how.separator == "\t":
        return "none"
    raise failed or AssertionError("one of them failed")


def _has_marks(path: Path, how: Delimited, data: TextDataParameters, mark: str = _MARK) -> bool:
    with opened_text(path, how.encoding) as file:
        return any(mark in line for line in lines_up_to(file, room(data)))


class _Noting:
    """Lines on their way to csv, with those of the record at hand."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.of_record: list[str] = []

    def __iter__(self) -> "Iterator[str]":
        for line in self._lines:
            self.of_record.append(line)
            yield line


def _require_quoting(path: Path, how: Delimited, data: TextDataParameters) -> None:
    """Read the table as quoted; raise DataError where a mark is not closed, or spans rows."""
    labels: set[str] = set()
    suspects: list[tuple[int, list[str]]] = []
    for line, cells, lines, columns in _with_lines(path, how, data):
        if len(lines) == 1:
            if len(cells) > columns.label and len(labels) < _MOST_LABELS:
                labels.add(label_of(cells[columns.label]))
        elif len(suspects) < _MOST_SUSPECTS and _are_rows(own := _labels_of_rows(lines, columns, how), len(lines)):
            suspects.append((line, [*own, *[""] * (len(lines) - len(own))]))
    for line, own in suspects:
        known = [label for label in own if label and (label in labels or own.count(label) > 1)]
        if _are_rows(known, len(own)):
            named = ", ".join(sorted(set(known))[:_MOST_NAMED])
            raise unclosed(path, line, f"it goes on over lines that are rows by themselves, of {named}")


def _are_rows(rows: list[str], lines: int) -> bool:
    """Of a text of several lines, the first or the last may look like a row, beside its label; of rows, most do."""
    return len(rows) >= 2 and 2 * len(rows) > lines


def _with_lines(
    path: Path, how: Delimited, data: TextDataParameters
) -> Iterator[tuple[int, list[str], list[str], Columns]]:
    with opened_text(path, how.encoding) as file:
        lines = lines_up_to(file, room(data))
        for _ in range(how.lines_before):
            next(lines, None)
        noting, columns, line = _Noting(lines), None, how.lines_before + 1
        try:
            for cells in csv.reader(noting, strict=True, **dialect(how)):
                found, noting.of_record = noting.of_record, []
                if columns is None and any(map(str.strip, cells)):
                    names = cells if how.has_header else [str(place) for place in range(1, len(cells) + 1)]
                    columns = find_columns(path, [plain_name(name) for name in names], data)
                    if how.has_header:
                        line += len(found)
                        continue
                if columns is not None and cells:
                    yield line, cells, found, columns
                line += len(found)
        except csv.Error as error:
            raise unclosed(path, line, str(error)) from error


def _labels_of_rows(lines: list[str], columns: Columns, how: Delimited) -> list[str]:
    """Return the labels of those lines that are a row when quotation marks mean nothing."""
    plain = how.model_copy(update={"quoting": "none"})
    rows = csv.reader(lines, **dialect(plain))
    return [label_of(row[columns.label].strip(_MARK)) for row in rows if len(row) == columns.width]
