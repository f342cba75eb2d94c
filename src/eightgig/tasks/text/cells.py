"""What the cells of a table mean: the same text, label or gap, whichever kind of file they come from."""

import datetime
import re
from decimal import Decimal
from typing import Any

_WHOLE_NUMBER = re.compile(r"([+-]?\d+)[.,]0+")  # a column of whole numbers with a gap is written as 0.0 and 1.0
_WHOLE_BELOW = 2**53  # a float beyond has no units, and says itself better
_MIDNIGHT = datetime.time()


def text_of(value: Any) -> str | bytes | None:
    """Return a cell as text, bytes where it holds bytes, or None where it is missing.

    Numbers that are whole lose their `.0`, dates lose a midnight: what a person would write.

    Raises:
        TypeError: it holds a list or a table.
    """
    match value:
        case None:
            return None
        case str() | bytes():
            return value
        case datetime.datetime():
            return _date(value)
        case datetime.date() | datetime.time() | datetime.timedelta() | int():  # bool is an int, and says True
            return str(value)
        case float() | Decimal():
            return _number(value)
        case _:
            raise TypeError(f"a {type(value).__name__}")


def label_of(text: str) -> str:
    """Return a label without white space around it, and a whole number without the zeros behind its point."""
    stripped = text.strip()
    whole = _WHOLE_NUMBER.fullmatch(stripped)
    return whole[1] if whole else stripped


def _date(value: datetime.datetime) -> str | None:
    if value != value:  # pandas' NaT  # noqa: PLR0124
        return None
    return str(value.date()) if value.time() == _MIDNIGHT and value.tzinfo is None else str(value)


def _number(value: float | Decimal) -> str | None:
    if value != value:  # noqa: PLR0124 - NaN
        return None
    whole = -_WHOLE_BELOW < value < _WHOLE_BELOW and value == int(value)
    return str(int(value)) if whole else str(value)
