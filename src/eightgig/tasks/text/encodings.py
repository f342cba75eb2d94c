"""The encoding of a text: by its byte order mark, by what the user says, or UTF-8."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from eightgig.core.errors import ConfigurationError, DataError

# UTF-32's mark begins as UTF-16's, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 4096
# In UTF-16, Latin letters have one byte in two that is 0; a stray NUL or two in a text are none of it.
_NUL_SHARE, _FEWEST_NULS = 0.3, 4
UTF8 = "utf-8-sig"  # UTF-8, its mark dropped where there is one
ENCODING_HINT = "save it as UTF-8, or name its encoding by data.encoding (such as cp1252, Windows' own in the West)"


def checked_encoding(name: str) -> str:
    """Return Python's name of an encoding of texts.

    Raises:
        ConfigurationError: there is none of that name.
    """
    try:
        found = codecs.lookup(name)
        "".encode(name)  # refuses what is no encoding of texts, as base64
    except (LookupError, ValueError) as error:
        raise ConfigurationError(
            f"data.encoding: Python knows no encoding `{name}` of texts. Name one of its own, such as utf-8, cp1252, "
            "latin-1, utf-16, shift_jis, gb18030."
        ) from error
    return UTF8 if found.name in ("utf-8", UTF8) else found.name


def encoding_of(start: bytes, asked: str | None = None) -> str:
    """Return the encoding of a text by its first bytes; a mark that contradicts what was asked for wins.

    Raises:
        DataError: it has no mark and looks like UTF-16.
    """
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if marked is not None or asked is not None:
        return marked or checked_encoding(asked or UTF8)
    sample = start[:_SAMPLE_BYTES]
    for place, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = sample[place::2]
        if half.count(0) > max(_FEWEST_NULS, _NUL_SHARE * len(half)) and not sample[1 - place :: 2].count(0):
            raise DataError(
                f"has a NUL in every second byte, as {name} without its mark has: set data.encoding to {name}"
            )
    return UTF8


def find_encoding(path: Path, asked: str | None = None) -> str:
    """Return a file's encoding, as `encoding_of`.

    Raises:
        DataError: it cannot be read, or looks like UTF-16 without a mark.
    """
    with opened(path) as file:
        start = file.read(_SAMPLE_BYTES)
    try:
        return encoding_of(start, asked)
    except DataError as error:
        raise DataError(f"{path}: {error}.") from error


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file of bytes, unpacked where it ends in .gz.

    Raises:
        DataError: it cannot be read, or is damaged.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield cast("BinaryIO", file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}). Copy the file again, or unpack it.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}). Check it and its permissions.") from error


@contextmanager
def opened_text(path: Path, encoding: str) -> Iterator[TextIO]:
    """Open a file as text with its line ends as they are.

    Bytes that are no UTF-8 come through as lone surrogates, so that the one text alone is refused.

    Raises:
        DataError: as `opened`, or it is not of that encoding.
    """
    errors = "strict" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    with opened(path) as file:
        text = io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")
        try:
            yield text
        except UnicodeError as error:
            raise DataError(
                f"{path}: is no {encoding} ({error}). Name its encoding by data.encoding, or save it as UTF-8."
            ) from error
        finally:
            text.detach()


def lines_up_to(file: TextIO, most: int) -> Iterator[str]:
    """Yield lines, cut after `most` letters: a line of 200 MB is never held whole."""
    while line := file.readline(most):
        if len(line) == most and not line.endswith("\n"):
            while (more := file.readline(most)) and not more.endswith("\n"):
                pass
            line += "\n"
        yield line
