"""Tables as Parquet."""

from collections.abc import Iterator
from pathlib import Path

from eightgig.core.errors import DataError
from eightgig.tasks.text.columns import find_columns, plain_name
from eightgig.tasks.text.delimited import Row
from eightgig.tasks.text.parameters import TextDataParameters

_ROWS_AT_A_TIME = 1024


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
