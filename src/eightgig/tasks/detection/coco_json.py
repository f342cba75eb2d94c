"""COCO's JSON files, read as far as images and categories go; ids are matched across numbers and texts."""

import json
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eightgig.core.errors import DataError
from eightgig.core.names import all_quoted
from eightgig.data.ingest.split_names import Split, split_above, split_within
from eightgig.tasks.detection.annotated import class_name
from eightgig.tasks.detection.listing import Listing
from eightgig.tasks.detection.reading import whole_number

Json = dict[str, Any]
Id = int | str
_PARTS = ("images", "annotations", "categories")
# Beside instances_*.json COCO has these, about the same images.
_COMPANIONS = ("person_keypoints_", "captions_", "panoptic_", "stuff_", "image_info_")


@dataclass(frozen=True)
class CocoFile:
    """One JSON file.

    Attributes:
        name: how it is shown.
        folder: what its images' names are relative to.
        split: by its name or folder; None where they say nothing.
        images: entries of images, unchecked.
        annotations: entries of boxes, likewise.
        category_names: by id.
        ids: how the file's ids of images are compared.
    """

    name: str
    folder: str
    split: Split | None
    images: list[Any]
    annotations: list[Any]
    category_names: Mapping[Id, str]
    ids: "Ids"


@dataclass(frozen=True)
class Ids:
    """How ids are compared: 1, 1.0 and "1" are the same, unless a file has two of them for two images."""

    by_number: bool = True

    def key(self, value: object) -> Id | None:
        """Return what an id is compared by, or None where it is none."""
        whole = whole_number(value)
        if self.by_number or not isinstance(value, str):
            return whole if whole is not None else value if isinstance(value, str) and value else None
        return value or None


def load_coco(listing: Listing, path: Path) -> CocoFile:
    """Return what a JSON file holds.

    Raises:
        DataError: it is not COCO's JSON.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: wanted COCO's JSON, but it cannot be read as such ({error}). Mend it.") from error
    parts: dict[str, Any] = {key: content.get(key) if isinstance(content, dict) else None for key in _PARTS}
    for key, part in parts.items():
        if not isinstance(part, list):
            raise DataError(
                f"{path}: wanted COCO's JSON with a list of '{key}', found none. Set data.annotations to the file "
                "with the boxes."
            )
    name = listing.shown(path)
    return CocoFile(
        name=name,
        folder=posixpath.dirname(listing.relative(path) or ""),
        split=split_within(path.stem) or split_above(name),
        images=parts["images"],
        annotations=parts["annotations"],
        category_names=_category_names(path, parts["categories"]),
        ids=_ids(parts["images"]),
    )


def looks_like_coco(path: Path) -> bool:
    """Tell whether a JSON file of any name holds COCO's three lists, and is not one of its companions."""
    if path.name.lower().startswith(_COMPANIONS):
        return False
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in _PARTS)


def classes_of(files: Sequence[CocoFile]) -> tuple[list[str], dict[Id, str]]:
    """Return the names of the classes, in the order of the categories' numbers, and the name of each category.

    Raises:
        DataError: two files have different categories.
    """
    first = files[0]
    for other in files[1:]:
        if other.category_names != first.category_names:
            raise DataError(
                f"{first.name} and {other.name} have different categories. Set data.annotations to one of them, or "
                "give both the same."
            )
    names = dict(first.category_names)
    ordered = sorted(names, key=lambda key: (isinstance(key, str), key))
    return list(dict.fromkeys(names[key] for key in ordered)), names


def _category_names(path: Path, categories: list[Any]) -> dict[Id, str]:
    names: dict[Id, str] = {}
    for each in categories:
        key = Ids().key(each.get("id")) if isinstance(each, dict) else None
        if key is None or not isinstance(each.get("name"), str):
            raise DataError(f"{path}: wanted categories with an 'id' and a 'name', found {each!r:.80}. Mend it.")
        name = class_name(each["name"])
        if names.setdefault(key, name) != name:
            raise DataError(
                f"{path}: two categories have the id {key!r:.40}: {all_quoted((names[key], name))}. Renumber one."
            )
    return names


def _ids(images: list[Any]) -> Ids:
    """Compare by number, unless two images, of different names, would become one by it."""
    raw = {made for image in images if isinstance(image, dict) and (made := _raw(image))}
    by_number = Counter(Ids().key(value) for value, _ in raw)
    return Ids(by_number=all(count == 1 for key, count in by_number.items() if key is not None))


def _raw(image: Json) -> tuple[int | str, str] | None:
    value, name = image.get("id"), image.get("file_name")
    if isinstance(value, bool) or not isinstance(value, int | float | str) or not isinstance(name, str):
        return None
    return (value if isinstance(value, str) else whole_number(value) or str(value)), name
