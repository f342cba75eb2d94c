"""Reading label files that anyone may have written: a cap on their size, text in UTF-8, numbers that are numbers."""

import math
import re
from pathlib import Path

from eightgig.core.errors import ImageRejectedError
from eightgig.core.units import format_bytes

MAX_LABEL_BYTES = 16 * 2**20
MAX_LIST_BYTES = 2**28


def read_label(path: Path, max_bytes: int = MAX_LABEL_BYTES) -> bytes:
    """Return the bytes of a label file.

    Raises:
        ImageRejectedError: it cannot be opened, or is far too long for a label.
    """
    try:
        num_bytes = path.stat().st_size
        if num_bytes > max_bytes:
            raise _malformed(f"{format_bytes(num_bytes)} are too much for it, at most {format_bytes(max_bytes)}")
        return path.read_bytes()
    except OSError as error:
        raise _malformed(f"it cannot be read ({error.strerror or error})") from error


def read_label_text(path: Path, max_bytes: int = MAX_LABEL_BYTES) -> str:
    """Return the text of a label file, without the byte order mark that some editors write.

    Raises:
        ImageRejectedError: as for `read_label`, or it is not UTF-8; the place is named.
    """
    try:
        return read_label(path, max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _malformed(f"not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from error


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """Return the lines that are not blank, counted from 1 as editors count them, without blanks at their ends."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def number(value: object) -> float:
    """Return a number that stands in a label as a number or as text; NaN and infinity are numbers too.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str) and value.isascii() and "_" not in value:
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError(str(error)) from error
    raise ValueError(f"{value!r:.40} is not a number")


def whole_number(value: object) -> int | None:
    """Return a whole number that stands in a label as 7, 7.0 or text of it; None for anything else."""
    if isinstance(value, str):
        text = value.strip()  # 12e4 as text is no number: it may be a part of a hash
        return int(text.partition(".")[0]) if re.fullmatch(r"[+-]?[0-9]{1,18}(\.0*)?", text) else None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _malformed(detail: str) -> ImageRejectedError:
    return ImageRejectedError("malformed_label", detail)
