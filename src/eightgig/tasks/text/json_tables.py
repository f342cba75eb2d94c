"""Tables as JSON: a list of objects, an object of columns, or an object a line."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from eightgig.core.errors import DataError
from eightgig.core.units import MIB
from eightgig.tasks.text.columns import Columns, find_columns, plain_name
from eightgig.tasks.text.delimited import Row, room
from eightgig.tasks.text.encodings import find_encoding, lines_up_to, opened_text
from eightgig.tasks.text.parameters import TextDataParameters

_PIECE = MIB  # characters at a time
_MOST_BYTES = 256 * MIB  # it is held whole, as Python's objects: several times as much memory
_FAULTS = (ValueError, RecursionError)  # of the reader; ValueError also for numbers of too many digits
_LISTED_UNDER = (
    "data",
    "rows",
    "records",
    "examples",
)  # the Hub's, pandas' `table` and other programs' key of the rows
_NO_ROW = "is no JSON object"
JsonKind = Literal["json", "jsonl"]


def find_json(path: Path, data: TextDataParameters) -> JsonKind:
    """Tell whether a `.json` file is one value or one object a line; both are found under that name."""
    with opened_text(path, find_encoding(path, data.encoding)) as file:
        lines = lines_up_to(file, room(data))
        first = next((line for line in lines if line.strip()), "")
        second = next((line for line in lines if line.strip()), "")
    return "jsonl" if second and _object(first) is not None and second.lstrip().startswith("{") else "json"


def json_rows(path: Path, kind: str, data: TextDataParameters) -> Iterator[Row]:
    """Yield the rows of a table in JSON; what is no object has a problem.

    Raises:
        DataError: it cannot be read, or a column is missing in all of it.
    """
    objects = _lines(path, data) if kind == "jsonl" else _whole(path, data)
    columns: Columns | None = None
    names: list[str] = []
    for number, found in enumerate(objects, start=1):
        if isinstance(found, str):
            yield Row(number, None, None, problem=found)
            continue
        named = {plain_name(name): value for name, value in found.items()}
        if columns is None:
            names = [*named]
            columns = find_columns(path, names, data)
        split = "" if columns.split is None else named.get(names[columns.split])
        yield Row(number, named.get(names[columns.text]), named.get(names[columns.label]), split)
    if columns is None:
        raise DataError(f"{path}: wanted objects with texts and labels, found none. Write one object a row.")


def _lines(path: Path, data: TextDataParameters) -> Iterator[Mapping[str, Any] | str]:
    with opened_text(path, find_encoding(path, data.encoding)) as file:
        for line in lines_up_to(file, room(data)):
            if line.strip():
                yield _object(line) or f"{_NO_ROW}: {line.strip()[:60]}"


def _object(line: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(line)
    except _FAULTS:
        return None
    return found if isinstance(found, dict) else None


def _read_up_to(file: IO[str], most: int) -> str:
    """Return at most about so many characters; one `read` of so many would take room for all of them at once."""
    pieces, count = [], 0
    while count < most and (piece := file.read(_PIECE)):
        pieces.append(piece)
        count += len(piece)
    return "".join(pieces)


def _whole(path: Path, data: TextDataParameters) -> Iterator[Mapping[str, Any] | str]:
    with opened_text(path, find_encoding(path, data.encoding)) as file:
        text = _read_up_to(file, _MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise DataError(f"{path}: is larger than {_MOST_BYTES // MIB} MiB. Write it as JSON lines (.jsonl).")
    try:
        found = json.loads(text)
    except _FAULTS as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}). Write the file again.") from error
    if isinstance(found, dict):
        found = next((found[key] for key in _LISTED_UNDER if isinstance(found.get(key), list)), found)
    if isinstance(found, dict):
        yield from _of_columns(path, found)
    elif isinstance(found, list):
        yield from (row if isinstance(row, dict) else f"{_NO_ROW}: {str(row)[:60]}" for row in found)
    else:
        raise DataError(f"{path}: wanted a list of objects, found a {type(found).__name__}. Write one object a row.")


def _of_columns(path: Path, columns: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of an object of columns, each a list, or an object by row as pandas writes it."""
    cells: dict[str, Sequence[Any]] = {}
    orders = {tuple(column) for column in columns.values() if isinstance(column, dict)}
    for name, column in columns.items():
        if not isinstance(column, list | dict):
            raise DataError(
                f"{path}: wanted a list of objects or an object of columns, found `{name}` of a "
                f"{type(column).__name__}. Write one object a row."
            )
        cells[name] = list(column.values()) if isinstance(column, dict) else column
    if len({len(column) for column in cells.values()}) > 1 or len(orders) > 1:
        raise DataError(f"{path}: its columns have not the same rows. Write one object a row.")
    for values in zip(*cells.values(), strict=True):
        yield dict(zip(cells, values, strict=True))
