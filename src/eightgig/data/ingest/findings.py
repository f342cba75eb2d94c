"""What is wrong or odd about an entry of a set: a row of the rejects, and when there are too many of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from eightgig.core.errors import DataError

REFUSED, KEPT = "refused", "kept"
DECODER_WARNING = "decoder_warning"
"""The reason of images that are kept although a decoder remarks on them."""
_TEXTS = ("path", "reason", "detail", "file", "class_name")


class Finding(NamedTuple):
    """One thing that a person should know of.

    Attributes:
        path: the image or the text, relative to the root; empty where there is none.
        reason: a short code.
        detail: what was found, for a person.
        action: what was done: `refused`, `kept`, or something in between.
        file: the file that says so, such as a label's.
        line: of that file; of COCO the annotation's id.
        class_name: where it is about one.
    """

    path: str
    reason: str
    detail: str
    action: str = REFUSED
    file: str = ""
    line: int | None = None
    class_name: str = ""


def findings_table(findings: Iterable[Finding], columns: Sequence[str]) -> pd.DataFrame:
    """Return the findings in their order, with these of their columns; all texts can be written to a file."""
    values: dict[str, list[object]] = {name: [] for name in columns}
    for finding in findings:
        for name in columns:
            value = getattr(finding, name)
            values[name].append(printable(value) if name in _TEXTS else value)
    return pd.DataFrame(values, dtype=None if any(values.values()) else object)


def printable(text: str) -> str:
    """Return `text` so that it can be written to a table, also where a name is not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def count_reasons(rejects: pd.DataFrame) -> str:
    """Return how many rows there are of each reason, the most frequent first: `3 empty, 1 truncated`."""
    return ", ".join(f"{count} {reason}" for reason, count in rejects["reason"].value_counts().items())


def too_many_refused(what: str, num_usable: int, refused: pd.DataFrame, max_fraction: float) -> str | None:
    """Return why a set cannot be used of which more than `max_fraction` was refused; None where it can.

    Args:
        what: its entries are called.
        num_usable: that are left.
        refused: one row an entry.
        max_fraction: that may be.
    """
    total, reasons = num_usable + len(refused), count_reasons(refused)
    if len(refused) <= max_fraction * total:
        return None
    return f"{len(refused)} of {total} {what} cannot be used ({reasons}); at most {max_fraction:.0%} may be refused"


def require_few_rejects(root: Path, num_usable: int, refused: pd.DataFrame, max_fraction: float) -> None:
    """Refuse a set of files of which too many are `refused`, one row a file.

    Raises:
        DataError: too many; the reasons are counted and the first five files named.
    """
    problem = too_many_refused("files", num_usable, refused, max_fraction)
    if problem:
        first = "; ".join(f"{row.path} ({row.reason}: {row.detail})" for row in refused.head(5).itertuples())
        raise DataError(f"{root}: {problem}. First: {first}. Repair or remove them, or raise data.max_reject_fraction.")
