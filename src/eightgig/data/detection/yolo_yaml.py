"""YOLO's data.yaml: the names of the classes, and where the pictures of each split are."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.data.detection.annotated import Finding, require_names
from eightgig.data.detection.listing import Listing
from eightgig.data.detection.reading import MAX_LIST_BYTES, numbered_lines, read_label_text

_MAX_YAML_BYTES = 2**20
_KEYS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
_NOTHING = ("", "~", "null")


class Listed(NamedTuple):
    """A picture of a split, and the line of the list that names it, where there is one."""

    path: str
    split: str
    file: str
    line: int | None


def read_data_yaml(listing: Listing, path: Path) -> tuple[tuple[str, ...], list[Listed], tuple[Finding, ...]]:
    """Give the names of the classes, the pictures of all splits, and findings.

    `names` is a list, or numbers from 0 with names. `train`, `val` (or `valid`) and `test` are each a folder, several,
    or a text file with one picture a line, relative to `path:`, to the file or to the root, wherever they are.

    Raises:
        DataError: the file cannot be understood, or names no pictures for training.
    """
    content = load_mapping(path)
    classes = require_names(str(path), _names(path, content))
    listed: list[Listed] = []
    findings: list[Finding] = []
    for split, keys in _KEYS.items():
        for entry in _entries(path, next((content[key] for key in keys if key in content), "")):
            place = _resolve(listing, path, content.get("path", ""), entry)
            if place is None:
                findings.append(_missing(listing, path, split, entry))
            else:
                found, faults = _pictures(listing, place, split)
                listed += found
                findings += faults
    if not any(each.split == "train" for each in listed):
        fault = findings[0].detail if findings else "no pictures there"
        raise DataError(f"{path}: wanted 'train' with pictures, found {fault}. Name their folder after 'train:'.")
    return classes, listed, tuple(findings)


def load_mapping(path: Path) -> dict[str, object]:
    """Give what a YAML file says, every value as text (`no`, `1.0` and `12` are names here, not values).

    Raises:
        DataError: it cannot be read, or is not a mapping.
    """
    try:
        content = yaml.load(read_label_text(path, _MAX_YAML_BYTES), Loader=yaml.BaseLoader)  # noqa: S506 - only text
    except ImageRejectedError as error:
        raise DataError(f"{path}: {error.detail}. Mend it, or set data.annotations to the right file.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: wanted YAML, but it cannot be read as such ({reason}). Mend it.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: wanted keys such as 'train' and 'names', found a {type(content).__name__}. Mend it.")
    return content


def _names(path: Path, content: dict[str, object]) -> list[str]:
    names = content.get("names")
    if isinstance(names, dict):
        names = [names.get(str(label)) for label in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: wanted 'names' as a list, or as numbers from 0 with a name each. Mend it.")
    count = content.get("nc", "")
    if isinstance(count, str) and count.isdecimal() and int(count[:9]) != len(names):
        raise DataError(f"{path}: 'nc' says {count[:9]} classes, 'names' has {len(names)}. Mend one of them.")
    return names


def _entries(path: Path, value: object) -> list[str]:
    entries: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) for entry in entries):
        raise DataError(f"{path}: wanted 'train', 'val' and 'test' as paths or lists of paths. Mend it.")
    return [entry for entry in entries if entry.strip() not in _NOTHING]


def _resolve(listing: Listing, path: Path, base: object, entry: str) -> str | None:
    """Give the folder or list that an entry means, relative to the root.

    Tools write paths relative to quite different places, some one folder too high.
    """
    text = entry.strip().replace("\\", "/")
    start = base if isinstance(base, str) and base not in _NOTHING else "."
    for folder in (path.parent / start, path.parent, listing.root):
        for each in (text, text.lstrip("./") or "."):
            inside = listing.relative(os.path.normpath(folder / each))
            if inside is not None and (inside in listing.folders or inside in listing.file_set):
                return inside
    return None


def _missing(listing: Listing, path: Path, split: str, entry: str) -> Finding:
    detail = f"'{split}' names '{entry}', which is not below the root"
    return Finding(
        "", "missing_split", f"{detail}; drawn from the others where none is left", "kept", listing.shown(path)
    )


def _pictures(listing: Listing, place: str, split: str) -> tuple[list[Listed], list[Finding]]:
    if place in listing.folders:
        return [Listed(path, split, "", None) for path in listing.below(place)], []
    listed, findings = [], []
    for line, name in _lines(listing, place):
        found = listing.find(name, beside=os.path.dirname(place), split=split)  # noqa: PTH120 - relative text
        if len(found) == 1:
            listed.append(Listed(found[0], split, place, line))
        else:
            reason = "ambiguous_picture" if found else "missing_picture"
            findings.append(Finding(name, reason, f"{len(found)} pictures of this name", "refused", place, line))
    return listed, findings


def _lines(listing: Listing, file: str) -> list[tuple[int, str]]:
    try:
        text = read_label_text(listing.root / file, MAX_LIST_BYTES)
    except ImageRejectedError as error:
        raise DataError(f"{listing.root / file}: {error.detail}. Wanted one picture a line, in UTF-8.") from error
    return numbered_lines(text)
