"""Texts in a folder a class, with or without folders of splits above them."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from eightgig.core.errors import DataError
from eightgig.core.names import all_quoted
from eightgig.data.ingest.split_names import split_of

logger = logging.getLogger(__name__)
SUFFIX = ".txt"
_NO_TEXTS = ("unsup",)  # aclImdb's reviews without labels
_HIDDEN = "."
_FOREIGN = "__MACOSX"
_MOST_NAMES = 8
LAYOUT = "a folder a class with .txt files, or train/ and test/ with such folders (aclImdb)"


class ClassFolder(NamedTuple):
    """One class's folder.

    Attributes:
        path: of the folder.
        split: of a ready-made split above it, or empty.
    """

    path: Path
    split: str


def class_folders(root: Path) -> list[ClassFolder]:
    """Return the folders of classes; those in folders of splits where there are such.

    Raises:
        DataError: no text lies in a folder of a class, or beside the splits lie texts that are in none.
    """
    inner = _folders(root)
    splits = {path: split for path in inner if (split := split_of(path.name)) and _is_split(path)}
    found = [ClassFolder(path, "") for path in inner]
    if splits:
        _require_all_are_splits(root, inner, splits)
        found = [ClassFolder(path, split) for folder, split in splits.items() for path in _folders(folder)]
    if not any(_has_texts(folder.path) for folder in found):
        raise DataError(f"{root}: wanted {LAYOUT}, found {_found_instead(root)}. {_WAY_OUT}")
    _tell(root, found, [*splits])
    return found


_WAY_OUT = (
    "Put the texts of each class into a folder of its name, or name a table (CSV, TSV, Parquet, JSON) by data.root."
)


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder, hidden ones left out."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(
        path for path in found if not any(part.startswith(_HIDDEN) for part in path.relative_to(folder).parts)
    )


def texts_below(folder: Path) -> list[Path]:
    """Return the texts below a folder."""
    return [path for path in files_below(folder) if path.suffix.lower() == SUFFIX]


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and path.name not in (*_NO_TEXTS, _FOREIGN) and not path.name.startswith(_HIDDEN)
    )


def _is_split(folder: Path) -> bool:
    """`test` may be a class: only a folder that holds folders of texts is a split."""
    return any(_has_texts(inner) for inner in _folders(folder))


def _has_texts(folder: Path) -> bool:
    return any(path.suffix.lower() == SUFFIX for path in files_below(folder))


def _require_all_are_splits(root: Path, folders: list[Path], splits: Mapping[Path, str]) -> None:
    others = [path.name for path in folders if path not in splits and _has_texts(path)]
    if others:
        raise DataError(
            f"{root}: its folders {all_quoted(path.name for path in splits)} are splits, and beside them texts lie in "
            f"{all_quoted(others[:_MOST_NAMES])}. Name these as splits (train, val, test), or move them away; or set "
            "data.root to one of the splits: then splits are drawn."
        )
    if "train" not in splits.values():
        raise DataError(
            f"{root}: its folders are splits ({all_quoted(path.name for path in splits)}), but none is for training. "
            "Add train, or set data.root to one of them: then splits are drawn."
        )


def _tell(root: Path, found: list[ClassFolder], splits: list[Path]) -> None:
    """Say which splits were found, and what was passed over."""
    if splits:
        numbers = Counter(folder.split for folder in found for _ in texts_below(folder.path))
        logger.info(
            "%s: ready-made splits: %s", root, ", ".join(f"{numbers[split]} texts in {split}" for split in numbers)
        )
    loose = [path for folder in (root, *splits) for path in folder.iterdir() if path.suffix.lower() == SUFFIX]
    others = Counter(
        path.suffix.lower() or "no ending"
        for folder in found
        for path in files_below(folder.path)
        if path.suffix.lower() != SUFFIX
    )
    if loose:
        logger.warning(
            "%s: passed over %d texts outside of the classes' folders, such as %s", root, len(loose), loose[0]
        )
    if others:
        kinds = ", ".join(f"{number} with {kind}" for kind, number in others.most_common(_MOST_NAMES))
        logger.warning("%s: passed over files in the classes' folders that are no .txt: %s", root, kinds)


def _found_instead(root: Path) -> str:
    endings = Counter(path.suffix.lower() or "no ending" for path in files_below(root))
    if not endings:
        return "no file"
    return "none; there are files with " + ", ".join(kind for kind, _ in endings.most_common(_MOST_NAMES))
