"""Texts one by one from every layout, each read once and never more of it than is allowed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from eightgig.core.errors import DataError
from eightgig.tasks.text.cells import label_of, text_of
from eightgig.tasks.text.class_folders import class_folders, files_below, texts_below
from eightgig.tasks.text.delimited import Row
from eightgig.tasks.text.parameters import CorpusDataParameters, TextDataParameters
from eightgig.tasks.text.sources import RawTexts
from eightgig.tasks.text.tables import TableFile, find_table, table_rows

_REVIEW_CLASSES = {"0": "negative", "1": "positive"}
_NOT_PLAYS = ("metadata",)
# The package's own table, whose form is known.
_REVIEWS = TableFile.model_validate({"kind": "delimited", "delimited": {"quoting": "doubled"}})
_REVIEW_COLUMNS = TextDataParameters(text_column="text", label_column="label", split_column="source")
_OF_IMDB = "imdb"


@dataclass(frozen=True)
class TextRow:
    """One text as it was found.

    Attributes:
        path: of its file, below the root.
        row: of a table, from 1; 0 where the file is the text.
        content: its bytes, or None where there are more than `size` allows, or none at all.
        size: bytes.
        class_name: empty where it has no label.
        split: of a ready-made split, as it was found.
        refusal: reason and detail, where the row has no text or label that could be read.
    """

    path: str
    row: int
    content: bytes | None
    size: int
    class_name: str = ""
    split: str = ""
    refusal: tuple[str, str] | None = None


class TextFile(NamedTuple):
    """A file of one text, or of a table's rows.

    Attributes:
        path: below `folder_of` the set.
        rows: reads its texts in their order; they have no label and split of their own where the file has them.
        class_name: of all its texts, or empty.
        split: likewise.
    """

    path: str
    rows: Callable[[], Iterator[TextRow]]
    class_name: str = ""
    split: str = ""


def folder_of(raw: RawTexts) -> Path:
    """Return the folder that the paths of texts are relative to."""
    root = Path(raw.root)
    return root if root.is_dir() else root.parent


def rows_of(raw: RawTexts, data: TextDataParameters | CorpusDataParameters) -> Iterator[TextRow]:
    """Yield all texts in a fixed order.

    Raises:
        DataError: no text, a column is missing, or a table cannot be read.
    """
    for file in text_files(raw, data):
        yield from file.rows()


def text_files(raw: RawTexts, data: TextDataParameters | CorpusDataParameters) -> Iterator[TextFile]:
    """Yield the files of a set in a fixed order; none is opened yet.

    Raises:
        DataError: there is none, or a table cannot be read.
    """
    root = Path(raw.root)
    if isinstance(data, CorpusDataParameters):
        yield from _documents(folder_of(raw), _document_paths(root, raw.layout, data), raw.layout, data)
    elif raw.layout == "folders":
        yield from _class_folders(root, data.max_document_bytes)
    elif raw.layout == "reviews":
        yield TextFile(root.name, partial(_reviews, root, data))
    else:
        for table in raw.tables or (find_table(root, data),):
            yield TextFile(table.path or root.name, partial(_table, root, table, data))


def _document_paths(root: Path, layout: str, data: CorpusDataParameters) -> list[Path]:
    if layout == "plays":  # *_gut_f.txt are the same plays in the spelling of the first folio
        files = sorted(path for path in root.glob("*_gut.txt") if not path.stem.startswith(_NOT_PLAYS))
    elif root.is_dir():
        files = [path for path in files_below(root) if path.suffix.lower() in data.suffixes]
    else:
        files = [root]
    if not files:
        raise DataError(f"{root}: holds no {', '.join(data.suffixes)} file. Put texts there, or set data.suffixes.")
    return files


def _documents(folder: Path, paths: Iterable[Path], layout: str, data: CorpusDataParameters) -> Iterator[TextFile]:
    read = _play if layout == "plays" else _file
    for path in paths:
        yield TextFile(path.relative_to(folder).as_posix(), partial(read, path, folder, data.max_document_bytes))


def _class_folders(root: Path, most: int) -> Iterator[TextFile]:
    for folder in class_folders(root):
        for path in texts_below(folder.path):
            name = path.relative_to(root).as_posix()
            yield TextFile(name, partial(_file, path, root, most), folder.path.name, folder.split)


def _play(path: Path, root: Path, most: int) -> Iterator[TextRow]:
    for row in _file(path, root, most):
        yield row if row.content is None else replace(row, content=_without_frame(row.content))


def _file(path: Path, root: Path, most: int) -> Iterator[TextRow]:
    name = path.relative_to(root).as_posix()
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
        size = path.stat().st_size
    except OSError as error:
        yield TextRow(name, 0, None, 0, refusal=("unreadable", error.strerror or str(error)))
        return
    yield TextRow(name, 0, content if len(content) <= most else None, size)


def _reviews(root: Path, data: TextDataParameters) -> Iterator[TextRow]:
    columns = _REVIEW_COLUMNS.model_copy(update={"max_document_bytes": data.max_document_bytes})
    for row in _table(root, _REVIEWS, columns):
        if row.split == _OF_IMDB:
            content = None if row.content is None else row.content.replace(b"<br />", b"\n")
            yield replace(row, content=content, class_name=_REVIEW_CLASSES.get(row.class_name, ""), split="")


def _table(root: Path, table: TableFile, data: TextDataParameters) -> Iterator[TextRow]:
    path = root / table.path if table.path else root
    for row in table_rows(path, table, data):
        yield _row_of(table.path or path.name, row, table.split, data)


def _row_of(path: str, row: Row, split: str, data: TextDataParameters) -> TextRow:
    """Return a row of a table, or why it is none; what is missing is missing in every kind of file."""
    if row.problem:
        return TextRow(path, row.number, None, 0, refusal=("ragged", row.problem))
    try:
        text, label, own_split = (text_of(value) for value in (row.text, row.label, row.split))
    except TypeError as error:
        return TextRow(path, row.number, None, 0, refusal=("no_text", f"holds {error}: write texts and labels as text"))
    if text is None or (isinstance(text, str) and text.strip() in data.missing):
        return TextRow(path, row.number, None, 0, refusal=("empty", _told_gap("text", text)))
    content = text if isinstance(text, bytes) else _bytes_of(text)
    if len(content) > data.max_document_bytes:
        return TextRow(path, row.number, None, len(content))
    name = label_of(label.decode("utf-8", "surrogateescape") if isinstance(label, bytes) else label or "")
    if name in data.missing:
        return TextRow(path, row.number, None, 0, refusal=("no_label", _told_gap("label", name)))
    return TextRow(path, row.number, content, len(content), name, split or str(own_split or ""))


def _told_gap(what: str, found: str | bytes | None) -> str:
    shown = found.strip() if isinstance(found, str) else ""
    if not shown:
        return f"the {what} is empty"
    return f"the {what} is `{shown}`, which stands for a missing value: where it is meant, set data.missing to []"


def _bytes_of(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair, from JSON's \\ud800: refused later as what it is
        return text.encode("utf-8", "surrogatepass")


def _without_frame(content: bytes) -> bytes:
    """Return a text of Project Gutenberg without its header and licence, where they are marked as the project does."""
    lines = content.splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if b"*END*THE SMALL PRINT" in line or b"*** START OF" in line]
    ends = [number for number, line in enumerate(lines) if b"End of Project Gutenberg" in line or b"*** END OF" in line]
    first = starts[0] + 1 if starts else 0
    last = next((number for number in ends if number > first), len(lines))
    return b"".join(lines[first:last])
