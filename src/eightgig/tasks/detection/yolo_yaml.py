"""YOLO's data.yaml: the names of the classes, and where the images of each split are."""

import os
import posixpath
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.data.ingest.findings import Finding
from eightgig.data.ingest.split_names import SPLITS, Split, split_of
from eightgig.tasks.detection.annotated import claimed_twice, not_found, require_names
from eightgig.tasks.detection.image_index import Match, rightful
from eightgig.tasks.detection.listing import Listing
from eightgig.tasks.detection.reading import MAX_LIST_BYTES, numbered_lines, read_label_text
from eightgig.tasks.detection.yolo_lines import Keypoints, LineForm, LineRules

_MAX_YAML_BYTES = 2**20
_MAX_OPEN = 1000  # brackets that nothing closes: no file is read with as many, and PyYAML takes seconds to find out
_NOTHING = ("", "~", "null")
_TASKS: dict[str, LineForm] = {"detect": "boxes", "segment": "polygons", "pose": "keypoints", "obb": "oriented"}


class Listed(NamedTuple):
    """An image of a split, and the line of the list that names it, where there is one."""

    path: str
    split: str
    file: str
    line: int | None


class DataYaml(NamedTuple):
    """What a data.yaml says.

    Attributes:
        classes: names, a label is a position in it.
        listed: the images of all splits.
        rules: what the lines of the labels are.
        findings: what is not as it says.
    """

    classes: tuple[str, ...]
    listed: list[Listed]
    rules: LineRules
    findings: tuple[Finding, ...]


def read_data_yaml(listing: Listing, path: Path) -> DataYaml:
    """Return the names of the classes, the images of all splits, what the labels hold, and findings.

    `names` is a list, or numbers from 0 with names. `train`, `val` and `test` (or what else these splits are called)
    are each a folder, several, or a text file with one image a line, relative to `path:`, to the file or to the root,
    wherever they are. `kpt_shape` and `task` say what the lines of the labels are.

    Raises:
        DataError: the file cannot be understood, or names no images for training.
    """
    content = load_mapping(path)
    classes = require_names(str(path), _names(path, content))
    listed: list[Listed] = []
    findings: list[Finding] = []
    for split, entry in _split_entries(path, content):
        place = _resolve(listing, path, content.get("path", ""), entry)
        if place is None:
            findings.append(_missing(listing, path, split, entry))
        else:
            found, faults = _images(listing, place, split)
            listed += found
            findings += faults
    if not any(each.split == "train" for each in listed):
        fault = findings[0].detail if findings else "no images there"
        raise DataError(f"{path}: wanted 'train' with images, found {fault}. Name their folder after 'train:'.")
    return DataYaml(classes, listed, _rules(path, content), tuple(findings))


def load_mapping(path: Path) -> dict[str, object]:
    """Return what a YAML file says, every value as text (`no`, `1.0` and `12` are names here, not values).

    Raises:
        DataError: it cannot be read, or is not a mapping.
    """
    try:
        text = read_label_text(path, _MAX_YAML_BYTES)
        if text.count("[") + text.count("{") - text.count("]") - text.count("}") > _MAX_OPEN:
            raise ValueError("it is nested too deeply")
        content = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - only text
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
    missing = [str(names.index(None))] if isinstance(names, list) and None in names else _classes_without_name(path)
    if missing:
        raise DataError(f"{path}: 'names' has none for class {missing[0]}: wanted numbers from 0 with a name each.")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: wanted 'names' as a list, or as numbers from 0 with a name each. Mend it.")
    count = content.get("nc", "")
    if isinstance(count, str) and count.isdecimal() and int(count[:9]) != len(names):
        raise DataError(f"{path}: 'nc' says {count[:9]} classes, 'names' has {len(names)}. Mend one of them.")
    return names


def _classes_without_name(path: Path) -> list[str]:
    """Return the classes whose name is `null`, `~` or nothing: only with quotation marks are these names."""
    root = yaml.compose(read_label_text(path, _MAX_YAML_BYTES), Loader=yaml.BaseLoader)
    sections = root.value if isinstance(root, yaml.MappingNode) else []
    names = next((node for key, node in sections if key.value == "names"), None)
    pairs: list[tuple[str, Any]] = []
    if isinstance(names, yaml.SequenceNode):
        pairs = [(str(place), node) for place, node in enumerate(names.value)]
    elif isinstance(names, yaml.MappingNode):
        pairs = [(str(key.value), node) for key, node in names.value]
    return [label for label, node in pairs if _is_nothing(node)]


def _is_nothing(node: yaml.Node) -> bool:
    is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return is_plain and node.value.lower() in (*_NOTHING, ".nan")


def _split_entries(path: Path, content: dict[str, object]) -> list[tuple[Split, str]]:
    """Return the entries of each split, by whatever name it has, in the order of the splits."""
    keys: list[tuple[Split, str]] = [(split, key) for key in content if (split := split_of(str(key)))]
    return [
        (split, entry)
        for split, key in sorted(keys, key=lambda each: SPLITS.index(each[0]))
        for entry in _entries(path, content[key])
    ]


def _entries(path: Path, value: object) -> list[str]:
    entries: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) for entry in entries):
        raise DataError(f"{path}: wanted 'train', 'val' and 'test' as paths or lists of paths. Mend it.")
    return [entry for entry in entries if entry.strip() not in _NOTHING]


def _rules(path: Path, content: dict[str, object]) -> LineRules:
    """Return what is said of the lines; `kpt_shape` comes first, as only labels with keypoints have it."""
    task = content.get("task")
    form = _TASKS.get(task.strip().lower()) if isinstance(task, str) else None
    shape = content.get("kpt_shape", "")
    if isinstance(shape, str) and shape in _NOTHING:
        return LineRules(form)
    values = shape if isinstance(shape, list) else []
    if len(values) != 2 or not all(isinstance(each, str) and each.isdecimal() for each in values):
        raise DataError(f"{path}: wanted kpt_shape as [points, 2 or 3], found {shape!r:.80}. Mend it.")
    keypoints = Keypoints(*(int(each[:9]) for each in values))
    if keypoints.num_points < 1 or keypoints.num_numbers not in (2, 3):
        raise DataError(f"{path}: wanted kpt_shape as [points, 2 or 3], found {list(keypoints)}. Mend it.")
    return LineRules("keypoints", keypoints)


def _resolve(listing: Listing, path: Path, base: object, entry: str) -> str | None:
    """Return the folder or list that an entry means, relative to the root.

    Tools write paths relative to quite different places, some one folder too high.
    """
    text = entry.strip().replace("\\", "/")
    start = base if isinstance(base, str) and base not in _NOTHING else "."
    for folder in (path.parent / start, path.parent, listing.root):
        for each in (text, text.lstrip("./") or "."):
            inside = listing.relative(os.path.normpath(folder / each))
            found = [] if inside is None else listing.same_folder(inside) or listing.same_file(inside)
            if len(found) == 1:
                return found[0]
    return None


def _missing(listing: Listing, path: Path, split: str, entry: str) -> Finding:
    detail = f"'{split}' names '{entry}', which is not below the root"
    return Finding(
        "", "missing_split", f"{detail}; drawn from the others where none is left", "kept", listing.shown(path)
    )


def _images(listing: Listing, place: str, split: str) -> tuple[list[Listed], list[Finding]]:
    if place in listing.folders:
        return [Listed(path, split, "", None) for path in listing.below(place)], []
    listed: list[Listed] = []
    findings: list[Finding] = []
    claims: dict[str, list[tuple[int, str, Match]]] = defaultdict(list)
    for line, name in _lines(listing, place):
        match = listing.match(name, beside=posixpath.dirname(place), split=split)
        if len(match.paths) == 1 and match.is_sure:
            claims[match.paths[0]].append((line, name, match))
        else:
            findings.append(not_found(name, match, place, line))
    for path, group in claims.items():
        for (line, name, _), may in zip(group, rightful([each[1:] for each in group]), strict=True):
            if may:
                listed.append(Listed(path, split, place, line))
            else:
                findings.append(claimed_twice(name, path, place, line))
    return listed, findings


def _lines(listing: Listing, file: str) -> list[tuple[int, str]]:
    try:
        text = read_label_text(listing.root / file, MAX_LIST_BYTES)
    except ImageRejectedError as error:
        raise DataError(f"{listing.root / file}: {error.detail}. Wanted one image a line, in UTF-8.") from error
    return numbered_lines(text)
