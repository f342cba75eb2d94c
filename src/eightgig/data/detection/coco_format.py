"""COCO's format: JSON files, each with all pictures, categories and boxes (left, top, width, height) of a split.

Whole files are in memory while they are read. Boxes around crowds (`iscrowd`) are left out, and listed.
"""

import json
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eightgig.core.errors import DataError
from eightgig.data.detection.annotated import (
    SPLITS,
    AnnotatedPicture,
    DetectionFolder,
    Finding,
    RawBox,
    in_two_splits,
    require_names,
    without_split,
)
from eightgig.data.detection.listing import Listing, split_of_folder, split_of_name
from eightgig.data.detection.reading import number

Json = dict[str, Any]


@dataclass(frozen=True)
class _File:
    """One JSON file; `name` is how it is shown, `folder` what its pictures' names are relative to."""

    name: str
    folder: str
    split: str
    images: list[Any]
    annotations: list[Any]
    category_names: dict[int, str]


def read_coco(listing: Listing, paths: Sequence[Path]) -> DetectionFolder:
    """Give the pictures and boxes of JSON files, one a split where their names or folders say so.

    The classes are the categories in the order of their numbers.

    Raises:
        DataError: a file is not COCO's JSON, or two have different categories.
    """
    files = sorted(
        (_load(listing, path) for path in paths), key=lambda file: (SPLITS.index(file.split or "train"), file.name)
    )
    for other in files[1:]:
        if other.category_names != files[0].category_names:
            raise DataError(
                f"{listing.root}: {files[0].name} and {other.name} have different categories. Set data.annotations to "
                "one of them, or give both the same."
            )
    names = files[0].category_names
    classes = require_names(files[0].name, list(dict.fromkeys(names[key] for key in sorted(names))))
    label_of = {name: label for label, name in enumerate(classes)}
    return _collect(listing, files, classes, {key: label_of[name] for key, name in names.items()})


def _collect(
    listing: Listing, files: Sequence[_File], classes: tuple[str, ...], labels: Mapping[int, int]
) -> DetectionFolder:
    pictures: dict[str, AnnotatedPicture] = {}
    findings: list[Finding] = []
    for file in files:
        for each in _read_file(listing, file, labels):
            if isinstance(each, Finding):
                findings.append(each)
            else:
                pictures[each.path] = _merged(pictures[each.path], each) if each.path in pictures else each
    findings += [*_unlabelled(listing, pictures), *without_split(pictures.values())]
    ordered = tuple(pictures[path] for path in sorted(pictures))
    return DetectionFolder(listing.root, "coco", classes, ordered, tuple(findings))


def _load(listing: Listing, path: Path) -> _File:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: wanted COCO's JSON, but it cannot be read as such ({error}). Mend it.") from error
    parts: dict[str, Any] = {
        key: content.get(key) if isinstance(content, dict) else None for key in ("images", "annotations", "categories")
    }
    for key, part in parts.items():
        if not isinstance(part, list):
            raise DataError(
                f"{path}: wanted COCO's JSON with a list of '{key}', found none. Set data.annotations to the file "
                "with the boxes."
            )
    name = listing.shown(path)
    split = split_of_name(path.name) or split_of_folder(name)
    folder = posixpath.dirname(listing.relative(path) or "")
    return _File(name, folder, split, parts["images"], parts["annotations"], _category_names(path, parts["categories"]))


def _category_names(path: Path, categories: list[Any]) -> dict[int, str]:
    for each in categories:
        if not isinstance(each, dict) or type(each.get("id")) is not int or not isinstance(each.get("name"), str):
            raise DataError(f"{path}: wanted categories with a number 'id' and a 'name', found {each!r:.80}. Mend it.")
    return {each["id"]: each["name"] for each in categories}


def _read_file(listing: Listing, file: _File, labels: Mapping[int, int]) -> Iterator[AnnotatedPicture | Finding]:
    """Give each picture of a file, and findings about entries without one."""
    by_image: dict[int | str, list[Json]] = defaultdict(list)
    for each in file.annotations:
        if isinstance(each, dict) and isinstance(each.get("image_id"), int | str):
            by_image[each["image_id"]].append(each)
        else:
            yield Finding("", "malformed_label", f"an annotation without a picture: {each!r:.80}", "refused", file.name)
    num_entries = Counter(image["id"] for image in file.images if _is_image(image))
    for image in file.images:
        if not _is_image(image):
            yield Finding("", "malformed_label", f"a picture without id or name: {image!r:.80}", "refused", file.name)
        elif num_entries[image["id"]] > 1:
            detail = f"{num_entries[image['id']]} pictures have the id {image['id']!r:.40}"
            yield Finding(image["file_name"], "ambiguous_picture", detail, "refused", file.name)
        else:
            yield _read_image(listing, file, image, by_image.pop(image["id"], []), labels)
    for key, orphans in by_image.items():
        detail = f"not one picture has the id {key!r:.40}"
        for each in orphans:
            yield Finding("", "label_without_picture", detail, "refused", file.name, _line(each))


def _is_image(image: object) -> bool:
    return (
        isinstance(image, dict) and isinstance(image.get("id"), int | str) and isinstance(image.get("file_name"), str)
    )


def _read_image(
    listing: Listing, file: _File, image: Json, annotations: list[Json], labels: Mapping[int, int]
) -> AnnotatedPicture | Finding:
    name = image["file_name"]
    found = listing.find(name, beside=file.folder, split=file.split)
    if len(found) != 1:
        reason = "ambiguous_picture" if found else "missing_picture"
        return Finding(name, reason, f"{len(found)} pictures of this name", "refused", file.name)
    path = found[0]
    boxes, findings = _read_boxes(path, file, annotations, labels)
    if not annotations:
        findings = (Finding(path, "empty_label", "no annotation for it; taken as background", "kept", file.name),)
    split = file.split or split_of_folder(path)
    return AnnotatedPicture(path, file.name, boxes, split, findings, _declared_size(image))


def _read_boxes(
    path: str, file: _File, annotations: list[Json], labels: Mapping[int, int]
) -> tuple[tuple[RawBox, ...], tuple[Finding, ...]]:
    boxes: list[RawBox] = []
    findings: list[Finding] = []
    for each in annotations:
        category, line = each.get("category_id"), _line(each)
        if type(category) is not int or category not in labels:
            detail = f"category {category!r:.40} is not among the categories"
            findings.append(Finding(path, "unknown_class", detail, "refused", file.name, line))
            continue
        name = file.category_names[category]
        if each.get("iscrowd") in (1, True):
            detail = "it is around a crowd, not one object"
            findings.append(Finding(path, "crowd", detail, "box left out", file.name, line, name))
            continue
        try:
            boxes.append(_box(each, labels[category]))
        except ValueError as error:
            findings.append(Finding(path, "malformed_label", str(error), "refused", file.name, line, name))
    return tuple(boxes), tuple(findings)


def _box(annotation: Json, label: int) -> RawBox:
    bbox = annotation.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise ValueError(f"wanted a bbox of 4 numbers, found {bbox!r:.80}")
    left, top, width, height = map(number, bbox)
    return RawBox(label, left, top, left + width, top + height, _line(annotation))


def _line(annotation: Json) -> int | None:
    """Give the annotation's id, which stands for a line; a table's whole numbers have 63 bits."""
    key = annotation.get("id")
    return key if type(key) is int and 0 <= key < 2**63 else None


def _declared_size(image: Json) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    if type(width) is not int or type(height) is not int or width <= 0 or height <= 0:
        return None
    return width, height


def _merged(first: AnnotatedPicture, second: AnnotatedPicture) -> AnnotatedPicture:
    """Join two entries of one picture: the boxes of the same split, or else those of the first."""
    if first.split == second.split:
        return replace(first, boxes=first.boxes + second.boxes, findings=first.findings + second.findings)
    double = in_two_splits(first.path, first.split, second.split, second.file)
    return replace(first, findings=(*first.findings, double))


def _unlabelled(listing: Listing, pictures: Mapping[str, AnnotatedPicture]) -> Iterator[Finding]:
    """Give the pictures that no file names, in folders where others are named."""
    folders = {posixpath.dirname(path) for path in pictures}
    for path in listing.pictures:
        if posixpath.dirname(path) in folders and path not in pictures:
            yield Finding(path, "no_label", "no JSON file names it; nobody looked for objects in it", "refused")
