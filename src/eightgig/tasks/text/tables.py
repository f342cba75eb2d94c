"""Tables of texts: which files they are, how each is written, and its rows one after the other."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from eightgig.core.errors import DataError
from eightgig.core.names import all_quoted
from eightgig.core.records import Record
from eightgig.data.ingest.split_names import split_of, split_within
from eightgig.tasks.text.columns import find_columns, plain_name
from eightgig.tasks.text.delimited import Delimited, Row, delimited_rows, find_delimited
from eightgig.tasks.text.parameters import TextDataParameters

logger = logging.getLogger(__name__)
SUFFIXES = (".csv", ".tsv", ".parquet")
MORE_SUFFIXES = (".tab", ".json", ".jsonl", ".ndjson")
_GZIP = ".gz"
_SHARD = re.compile(r"[-_.]?\d{5}-of-\d{5}$")  # train-00000-of-00002.parquet, as the Hugging Face Hub has them
Kind = Literal["delimited", "parquet", "json", "jsonl"]
_KINDS: dict[str, Kind] = {".parquet": "parquet", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_ROWS_AT_A_TIME = 1024  # of a Parquet file, which may be larger than memory


class TableFile(Record):
    """One file of rows.

    Attributes:
        path: from the root; empty where the root is the file.
        split: of a ready-made split, or empty.
        kind: of file.
        delimited: how its text is cut into cells; None for the other kinds.
    """

    path: str = ""
    split: str = ""
    kind: Kind
    delimited: Delimited | None = None

    @property
    def told(self) -> str:
        """How it is read, for a person."""
        return self.delimited.told if self.delimited else {"jsonl": "JSON lines"}.get(self.kind, self.kind)


def is_table(path: Path) -> bool:
    """Tell whether a file's name is that of a table which can be read."""
    suffix = ending(path)
    return suffix.removesuffix(_GZIP) in (*SUFFIXES, *MORE_SUFFIXES) and suffix != f".parquet{_GZIP}"


def ending(path: Path) -> str:
    """Return the ending of a file's name in small letters, with `.gz` where it is packed."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() + _GZIP if suffix == _GZIP else suffix


def stem_of(path: Path) -> str:
    """Return a file's name without its endings and its part's number: `train` of `train-00000-of-00002.csv.gz`."""
    name = path.name[: len(path.name) - len(ending(path))]
    return _SHARD.sub("", name)


def split_tables(root: Path) -> dict[Path, str]:
    """Return a folder's tables with the splits that they are named as; or the only one, which is in none.

    Without a table for training there is none, so that folders of classes may have tables beside them.
    """
    tables = [path for path in sorted(root.iterdir()) if path.is_file() and is_table(path) and path.name[0] != "."]
    found = {path: split for path in tables if (split := split_of(stem_of(path)) or split_within(stem_of(path)))}
    if "train" not in found.values():
        alone = len(tables) == 1 and not any(path.is_dir() for path in root.iterdir())
        return {tables[0]: ""} if alone else {}
    if others := [path.name for path in tables if path not in found]:
        logger.warning(
            "%s: passed over tables that are named as no split (train, val, test): %s", root, all_quoted(others)
        )
    return dict(found)


def find_table(path: Path, data: TextDataParameters, *, below: str = "", split: str = "") -> TableFile:
    """Return how a table is written, having looked at it.

    Raises:
        DataError: it cannot be read, or a quotation mark in it is never closed.
    """
    kind = _KINDS.get(ending(path).removesuffix(_GZIP), "delimited")
    if kind == "json":
        from eightgig.tasks.text.json_tables import find_json

        kind = find_json(path, data)
    delimited = find_delimited(path, data) if kind == "delimited" else None
    return TableFile(path=below, split=split, kind=kind, delimited=delimited)


def table_rows(path: Path, table: TableFile, data: TextDataParameters) -> Iterator[Row]:
    """Yield a table's rows.

    Raises:
        DataError: it cannot be read, or a column is missing.
    """
    if table.delimited is not None:
        yield from delimited_rows(path, table.delimited, data)
    elif table.kind == "parquet":
        from eightgig.tasks.text.tables import parquet_rows

        yield from parquet_rows(path, data)
    else:
        from eightgig.tasks.text.json_tables import json_rows

        yield from json_rows(path, table.kind, data)


def parquet_rows(path: Path, data: TextDataParameters) -> Iterator[Row]:
    """Yield the rows of a Parquet file.

    Raises:
        DataError: it cannot be read, or a column is missing.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            own = file.schema_arrow.names
            columns = find_columns(path, [plain_name(name) for name in own], data)
            chosen = [columns.text, columns.label, *([] if columns.split is None else [columns.split])]
            number = 0
            for batch in file.iter_batches(batch_size=_ROWS_AT_A_TIME, columns=[own[place] for place in chosen]):
                found = [batch.column(own[place]).to_pylist() for place in chosen]
                for cells in zip(*found, strict=True):
                    number += 1
                    yield Row(number, *cells)
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
        raise DataError(f"{path}: cannot be read as Parquet ({error}). Write the file again.") from error
