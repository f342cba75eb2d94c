"""Texts one by one from every layout, each read once and never more of it than is allowed."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eightgig.core.errors import DataError
from eightgig.data.text.parameters import CorpusDataParameters, TextDataParameters
from eightgig.data.text.sources import RawTexts

_REVIEW_CLASSES = {"0": "negative", "1": "positive"}
_SPLITS = ("train", "val", "valid", "test")
_NO_TEXTS = ("unsup",)  # aclImdb's reviews without labels
_NOT_PLAYS = ("metadata",)
_HIDDEN = "."
_MOST_NAMES = 8


@dataclass(frozen=True)
class TextRow:
    """One text as it was found.

    Attributes:
        path: of its file, below the root.
        row: of a table, from 1; 0 where the file is the text.
        content: its bytes, or None where there are more than `size` allows.
        size: bytes.
        class_name: empty where it has no label.
        split: of a ready-made split.
    """

    path: str
    row: int
    content: bytes | None
    size: int
    class_name: str = ""
    split: str = ""


def rows_of(raw: RawTexts, data: TextDataParameters | CorpusDataParameters) -> Iterator[TextRow]:
    """Yield all texts in a fixed order.

    Raises:
        DataError: no text, a column is missing, or a table cannot be read.
    """
    root, most = Path(raw.root), data.max_document_bytes
    if isinstance(data, CorpusDataParameters):
        yield from _documents(root, raw.layout, data)
    elif raw.layout == "folders":
        yield from _class_folders(root, most)
    elif raw.layout == "reviews":
        for row in _delimited(root, "text", "label", most, only=("source", "imdb")):
            yield TextRow(row.path, row.row, _plain(row.content), row.size, _REVIEW_CLASSES.get(row.class_name, ""))
    elif root.suffix.lower() == ".parquet":
        yield from _parquet(root, data.text_column, data.label_column, most)
    else:
        yield from _delimited(root, data.text_column, data.label_column, most)


def _documents(root: Path, layout: str, data: CorpusDataParameters) -> Iterator[TextRow]:
    if layout == "plays":  # *_gut_f.txt are the same plays in the spelling of the first folio
        files = sorted(path for path in root.glob("*_gut.txt") if not path.stem.startswith(_NOT_PLAYS))
    elif root.is_dir():
        files = [path for path in _files(root) if path.suffix.lower() in data.suffixes]
    else:
        files, root = [root], root.parent
    if not files:
        raise DataError(f"{root}: holds no {', '.join(data.suffixes)} file. Put texts there, or set data.suffixes.")
    for path in files:
        row = _file(path, root, data.max_document_bytes)
        yield (
            row
            if layout != "plays" or row.content is None
            else TextRow(row.path, 0, _without_frame(row.content), row.size)
        )


def _class_folders(root: Path, most: int) -> Iterator[TextRow]:
    splits = [root / name for name in _SPLITS if (root / name).is_dir()]
    found = False
    for folder in splits or [root]:
        split = "" if not splits else "val" if folder.name == "valid" else folder.name
        for of_class in sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in _NO_TEXTS):
            if of_class.name.startswith(_HIDDEN):
                continue
            for path in _files(of_class):
                if path.suffix.lower() == ".txt":
                    found = True
                    row = _file(path, root, most)
                    yield TextRow(row.path, 0, row.content, row.size, of_class.name, split)
    if not found:
        raise DataError(
            f"{root}: wanted a folder a class with .txt files, or train/ and test/ with such folders (aclImdb), found "
            "none. Put the texts of each class into a folder of its name."
        )


def _files(folder: Path) -> list[Path]:
    hidden = (path for path in folder.rglob("*") if path.is_file())
    return sorted(
        path for path in hidden if not any(part.startswith(_HIDDEN) for part in path.relative_to(folder).parts)
    )


def _file(path: Path, root: Path, most: int) -> TextRow:
    with path.open("rb") as file:
        content = file.read(most + 1)
    size = path.stat().st_size
    return TextRow(path.relative_to(root).as_posix(), 0, content if len(content) <= most else None, size)


def _delimited(
    path: Path, text_column: str, label_column: str, most: int, *, only: tuple[str, str] | None = None
) -> Iterator[TextRow]:
    room = 2 * most + 2**16  # what is cut here is longer than any text may be
    csv.field_size_limit(room + 1)
    # surrogateescape carries bytes that are no UTF-8 through the reader, so that the one text alone is refused.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(_lines_up_to(file, room), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        _require_columns(path, reader.fieldnames or (), text_column, label_column)
        try:
            for number, row in enumerate(reader, start=1):
                if only is None or row.get(only[0]) == only[1]:
                    yield _row_of(path, number, row.get(text_column) or "", row.get(label_column) or "", most)
        except csv.Error as error:
            raise DataError(
                f"{path}: after row {reader.line_num} it cannot be read as a table ({error}). Repair that row, or "
                "raise data.max_document_bytes where a text is longer."
            ) from error


def _lines_up_to(file: "Iterator[str]", room: int) -> Iterator[str]:
    """Yield lines, cut after `room` letters: a line of 200 MB is never held whole."""
    readline = file.readline  # type: ignore[attr-defined]
    while line := readline(room):
        if len(line) == room and not line.endswith("\n"):
            while (more := readline(room)) and not more.endswith("\n"):
                pass
            line += "\n"
        yield line


def _row_of(path: Path, number: int, text: str, label: str, most: int) -> TextRow:
    content = text.encode("utf-8", errors="surrogateescape")
    kept = content if len(content) <= most else None
    return TextRow(path.name, number, kept, len(content), label.strip())


def _parquet(path: Path, text_column: str, label_column: str, most: int) -> Iterator[TextRow]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            _require_columns(path, file.schema_arrow.names, text_column, label_column)
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=[text_column, label_column]):
                for text, label in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number += 1
                    yield _row_of(
                        path, number, "" if text is None else str(text), "" if label is None else str(label), most
                    )
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
        raise DataError(f"{path}: cannot be read as Parquet ({error}). Write the file again.") from error


def _require_columns(path: Path, names: "object", text_column: str, label_column: str) -> None:
    found = [str(name) for name in names]  # type: ignore[attr-defined]
    for wanted, parameter in ((text_column, "text_column"), (label_column, "label_column")):
        if wanted not in found:
            shown = ", ".join(found[:_MOST_NAMES]) + (", ..." if len(found) > _MOST_NAMES else "")
            raise DataError(
                f"{path}: wanted a column `{wanted}`, found {shown or 'an empty file'}. Set data.{parameter} to the "
                "right one."
            )


def _plain(content: bytes | None) -> bytes | None:
    return content if content is None else content.replace(b"<br />", b"\n")


def _without_frame(content: bytes) -> bytes:
    """Give a text of Project Gutenberg without its header and licence, where it is marked as the project marks them."""
    lines = content.splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if b"*END*THE SMALL PRINT" in line or b"*** START OF" in line]
    ends = [number for number, line in enumerate(lines) if b"End of Project Gutenberg" in line or b"*** END OF" in line]
    first = starts[0] + 1 if starts else 0
    last = next((number for number in ends if number > first), len(lines))
    return b"".join(lines[first:last])
