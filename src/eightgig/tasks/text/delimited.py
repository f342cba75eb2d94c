"""Tables as lines of text: the encoding, the separator and the quotation marks are found, and said."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from eightgig.core.errors import ConfigurationError, DataError
from eightgig.core.records import Record
from eightgig.tasks.text.columns import Columns, find_columns, plain_name, wanted
from eightgig.tasks.text.encodings import UTF8, find_encoding, lines_up_to, opened_text
from eightgig.tasks.text.parameters import TextDataParameters

Quoting = Literal["doubled", "backslash", "none"]
"""How a quotation mark stands within quotation marks; `none`: it means nothing."""
_TOLD_QUOTING = {"doubled": "quoted", "backslash": 'quoted, with \\"', "none": "no quoting"}
_TOLD_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SEPARATORS = (",", ";", "\t", "|")
_NAMED = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_EXCEL = re.compile(r'^"?sep=(.)"?\s*$', re.IGNORECASE)
_TABS = (".tsv", ".tab")
_MOST_LINES_BEFORE = 20  # titles, comments and empty lines that programs write above the names of the columns


class Delimited(Record):
    """How a table of lines is cut into cells.

    Attributes:
        encoding: Python's name.
        separator: between cells.
        quoting: what a quotation mark at the beginning of a cell means.
        lines_before: lines above the names of the columns, or above the first row.
        has_header: whether the first row names the columns.
    """

    encoding: str = UTF8
    separator: str = ","
    quoting: Quoting = "doubled"
    lines_before: int = 0
    has_header: bool = True

    @property
    def told(self) -> str:
        """How it is read, for a person."""
        parts = [self.encoding.removesuffix("-sig").upper(), f"cells between {self._told_separator}"]
        parts += [_TOLD_QUOTING[self.quoting]] + ([] if self.has_header else ["no header"])
        return ", ".join(parts) + (f", {self.lines_before} lines above the header" if self.lines_before else "")

    @property
    def _told_separator(self) -> str:
        return _TOLD_SEPARATORS.get(self.separator, repr(self.separator))


class Row(NamedTuple):
    """A row's cells as they were found; `problem` says why they are none."""

    number: int
    text: object
    label: object
    split: object = ""
    problem: str = ""


def find_delimited(path: Path, data: TextDataParameters) -> Delimited:
    """Return how a table of lines is written.

    Raises:
        ConfigurationError: data.separator or data.encoding is none.
        DataError: the columns are not there under any separator, or a quotation mark is never closed.
    """
    encoding = find_encoding(path, data.encoding)
    with opened_text(path, encoding) as file:
        lines = list(islice(lines_up_to(file, room(data)), _MOST_LINES_BEFORE))
    separator, before = _layout(path, lines, data)
    found = Delimited(encoding=encoding, separator=separator, lines_before=before, has_header=data.header)
    if data.quoting != "auto":
        return found.model_copy(update={"quoting": data.quoting})
    from eightgig.tasks.text.quoting import find_quoting

    return found.model_copy(update={"quoting": find_quoting(path, found, data)})


def delimited_rows(path: Path, how: Delimited, data: TextDataParameters) -> Iterator[Row]:
    """Yield the rows below the header; one that is not cut as the header is has a problem."""
    with records(path, how, data) as found:
        first = next(found, None)
        names = [plain_name(name) for name in first[1]] if first else []
        if not how.has_header:
            names = [str(place) for place in range(1, len(names) + 1)]
        columns = find_columns(path, names, data)
        rows = found if how.has_header or first is None else _again(first, found)
        for number, (_, cells) in enumerate(rows, start=1):
            yield _row(number, cells, columns, how, data.max_document_bytes)


@contextmanager
def records(path: Path, how: Delimited, data: TextDataParameters) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """Open a table; give its records that are not empty, the header first, each with the line that it begins in."""
    with opened_text(path, how.encoding) as file:
        lines = lines_up_to(file, room(data))
        for _ in range(how.lines_before):
            next(lines, None)
        yield _records(path, lines, how)


def _records(path: Path, lines: Iterable[str], how: Delimited) -> Iterator[tuple[int, list[str]]]:
    reader, begins = csv.reader(lines, strict=True, **dialect(how)), 0
    try:
        for cells in reader:
            if cells and any(map(str.strip, cells)):
                yield how.lines_before + begins + 1, cells
            begins = reader.line_num
    except csv.Error as error:
        raise unclosed(path, how.lines_before + begins + 1, str(error)) from error


def dialect(how: Delimited) -> dict[str, Any]:
    """Return what `csv.reader` is to be told."""
    quoted = how.quoting != "none"
    return {
        "delimiter": how.separator,
        "quoting": csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        "doublequote": how.quoting == "doubled",
        "escapechar": "\\" if how.quoting == "backslash" else None,
        "skipinitialspace": not how.separator.isspace(),  # `a, "b, c"`: else the comma within the marks would cut
    }


def unclosed(path: Path, line: int, why: str) -> DataError:
    """Return the error about a quotation mark that is not closed as it was opened."""
    return DataError(
        f"{path}: line {line} opens a quotation mark that is not closed where its cell ends ({why}). Close it, double "
        'the marks within a text ("" for "), or set data.quoting to none where quotation marks mean nothing; or raise '
        "data.max_document_bytes where a text is longer than that."
    )


def room(data: TextDataParameters) -> int:
    """Return how many letters of a line are held: what is cut there is longer than any text may be."""
    most = 2 * data.max_document_bytes + 2**16
    csv.field_size_limit(min(most + 1, 2**31 - 1))  # a C long on Windows
    return most


def _again(first: tuple[int, list[str]], rest: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    yield first
    yield from rest


def _row(number: int, cells: Sequence[str], columns: Columns, how: Delimited, most: int) -> Row:
    more = cells[columns.width :]
    if len(cells) < columns.width or any(map(str.strip, more)):  # Excel writes empty cells behind the last column
        longest = max(cells, key=len)
        if len(longest) > most:  # cut as it was read, and what came behind it is gone
            return Row(number, longest, "")
        return Row(number, None, None, problem=_ragged(len(cells), columns.width, how))
    split = "" if columns.split is None else cells[columns.split]
    return Row(number, cells[columns.text], cells[columns.label], split)


def _ragged(found: int, wanted: int, how: Delimited) -> str:
    sign = Delimited(separator=how.separator)._told_separator
    return f"{found} cells, the header has {wanted}: put a text that holds {sign} or line ends into quotation marks"


def _layout(path: Path, lines: Sequence[str], data: TextDataParameters) -> tuple[str, int]:
    """Return the separator, and how many lines stand above the header (or the first row, where there is none)."""
    excel = _EXCEL.match(lines[0]) if lines else None
    asked = checked_separator(data.separator) if data.separator is not None else excel and excel[1]
    candidates = (asked,) if asked else _SEPARATORS if path.name.lower().find(".tsv") < 0 else ("\t", ",", ";", "|")
    first = next((n for n, line in enumerate(lines) if line.strip() and not (excel and n == 0)), len(lines))
    if not data.header:
        counts = {sign: _same_count([_cells(line, sign) for line in lines[first:]]) for sign in candidates}
        return max(candidates, key=lambda sign: counts[sign]), first
    names = {plain_name(name) for name, _ in wanted(data)}
    for place, line in enumerate(lines[first:], start=first):
        for sign in candidates:
            if names <= {plain_name(cell) for cell in _cells(line, sign)}:
                return sign, place
    raise _no_columns(path, lines[first:], candidates, data)


def _no_columns(path: Path, lines: Sequence[str], candidates: Sequence[str], data: TextDataParameters) -> DataError:
    line = lines[0] if lines else ""
    names = {plain_name(name) for name, _ in wanted(data)}

    def hits(sign: str) -> tuple[int, int]:
        cells = [plain_name(cell) for cell in _cells(line, sign)]
        return len(names & set(cells)), len(cells)

    cells = [plain_name(cell) for cell in _cells(line, max(candidates, key=hits))]
    if len(cells) == 1 and line.strip():
        return DataError(
            f"{path}: wanted the columns {' and '.join(f'`{name}`' for name, _ in wanted(data))}, found one cell in "
            f"the first line: {cells[0][:80]!r}. Name the sign between cells by data.separator, its encoding by "
            "data.encoding, or take another file."
        )
    more = "; where the first line is a row and names no columns, set data.header to false: they are counted from 1"
    try:
        find_columns(path, cells, data, more=more)
    except DataError as error:
        return error
    raise AssertionError("the columns are there")


def checked_separator(name: str) -> str:
    r"""Return the sign that data.separator stands for: itself, `\t`, or a word such as `tab`.

    Raises:
        ConfigurationError: it is more than one sign.
    """
    sign = _NAMED.get(name.lower(), name)
    if len(sign) != 1 or sign in '"\r\n':
        raise ConfigurationError(
            f"data.separator: wanted one sign, or one of {', '.join(_NAMED)}, found {name!r}. Name the one between "
            "cells."
        )
    return sign


def _cells(line: str, sign: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=sign, skipinitialspace=sign != "\t"), [])
    except csv.Error:
        return []


def _same_count(rows: Sequence[Sequence[str]]) -> int:
    """Return the number of cells that all rows have, 0 where they differ."""
    counts = {len(row) for row in rows if row}
    return counts.pop() if len(counts) == 1 else 0
