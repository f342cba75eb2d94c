"""Errors of a run as a person reads them: what was found, and the way out. Tracebacks go to the run's log."""

import errno
import re
from collections.abc import Iterator
from difflib import get_close_matches

from eightgig.core.errors import EightgigError
from eightgig.core.files import data_folder

REPORT_AT = "the project's issues, with this log"
# A parameter that its record refuses, as Kedro passes on what pydantic says of it.
_REFUSED = re.compile(r"^- Parameter '(?P<name>[^']+)': (?P<why>.*?)(?=^- Parameter |\Z)", re.MULTILINE | re.DOTALL)
# The disk, one's share of it, or the largest file that is allowed (ulimit -f).
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FIELD = re.compile(
    r"^(?P<field>[\w.-]+)\n  (?P<why>[^\n]+?) \[type=(?P<type>\w+), input_value=(?P<found>.*?), input_type=\w+\]",
    re.MULTILINE | re.DOTALL,
)


def message_of(error: BaseException) -> str | None:
    """Return what a person is told of an error that they can mend; None of one that nobody foresaw."""
    for link in _chain(error):
        if isinstance(link, EightgigError):
            return str(link)
        if type(link).__name__ == "ParameterValidationError":
            return "\n".join(_refused_parameters(str(link)))
        if isinstance(link, OSError) and link.errno in _FULL:
            return _about_space(link)
    return None


def unknown_name(kind: str, name: str, known: list[str]) -> str:
    """Return what is said of a misspelt name."""
    near = get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"there is no {kind} {name!r}: {meant}There are {', '.join(known)}."


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _about_space(error: OSError) -> str:
    where = error.filename or data_folder()
    return (
        f"{where} cannot be written: {error.strerror}. Free some space, or name a folder on another disk with "
        "EIGHTGIG_DATA. `kedro run` again takes up what is whole."
    )


def _refused_parameters(said: str) -> Iterator[str]:
    for refused in _REFUSED.finditer(said):
        fields = list(_FIELD.finditer(refused["why"]))
        for field in fields:
            yield f"{refused['name']}.{field['field']}: {_sentence(field)}"
        if not fields:
            yield f"{refused['name']}: {' '.join(refused['why'].split())}"


def _sentence(field: re.Match[str]) -> str:
    if field["type"] == "extra_forbidden":
        return "there is no such parameter; look at the name"
    why = field["why"].removeprefix("Value error, ")
    return f"{why[:1].lower()}{why[1:]}; found {field['found']}"
