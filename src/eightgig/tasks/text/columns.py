"""The columns that are asked for, looked up in those that a table has."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from eightgig.core.errors import DataError
from eightgig.core.names import composed
from eightgig.tasks.text.parameters import TextDataParameters

_MOST_NAMES = 8
SPLIT_COLUMN = "split"  # what Kaggle's and the Hub's tables call it; data.split_column names another


class Columns(NamedTuple):
    """Where a row has what is wanted of it.

    Attributes:
        text: position of its text.
        label: of its label.
        split: of its split; None where the table has none.
        width: number of the columns.
    """

    text: int
    label: int
    split: int | None
    width: int


def find_columns(path: Path, names: Sequence[str], data: TextDataParameters, *, more: str = "") -> Columns:
    """Return where the wanted columns are.

    Args:
        path: of the table, for a message.
        names: of its columns, in their order.
        data: says which are wanted.
        more: what else to say where one is missing.

    Raises:
        DataError: one is missing, or there are two of its name.
    """
    text, label = (_position(path, names, name, at, more) for name, at in wanted(data))
    split = None
    if data.split_column is not None:
        split = _position(path, names, data.split_column, "split_column", more)
    elif SPLIT_COLUMN in names and names.count(SPLIT_COLUMN) == 1:
        split = names.index(SPLIT_COLUMN)
    return Columns(text, label, split, len(names))


def wanted(data: TextDataParameters) -> Iterator[tuple[str, str]]:
    """Yield the columns that a table must have, each with the parameter that names it."""
    yield data.text_column, "text_column"
    yield data.label_column, "label_column"


def plain_name(name: object) -> str:
    """Return a column's name as names are compared: composed, without white space around it."""
    return composed(str(name).strip())


def _position(path: Path, names: Sequence[str], name: str, parameter: str, more: str) -> int:
    places = [place for place, found in enumerate(names) if found == plain_name(name)]
    if len(places) == 1:
        return places[0]
    if places:
        raise DataError(
            f"{path}: wanted one column `{name}`, found {len(places)} of that name. Rename all but one, or set "
            f"data.{parameter} to another."
        )
    shown = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    raise DataError(
        f"{path}: wanted a column `{name}`, found {shown or 'an empty file'}. Set data.{parameter} to the right "
        f"one{more}."
    )
