"""COCO's format: JSON files, each with all images, categories and boxes (left, top, width, height) of a split.

Whole files are in memory while they are read. Boxes around crowds (`iscrowd`) are left out, and listed.
"""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eightgig.core.errors import DataError
from eightgig.core.names import all_quoted, name_key
from eightgig.data.ingest.findings import Finding
from eightgig.data.ingest.split_names import SPLITS, split_above
from eightgig.tasks.detection.annotated import (
    AnnotatedImage,
    DetectionFolder,
    RawBox,
    claimed_twice,
    in_two_splits,
    not_found,
    require_names,
    without_split,
)
from eightgig.tasks.detection.coco_boxes import corners_of, is_crowd
from eightgig.tasks.detection.coco_json import CocoFile, Id, Ids, Json, classes_of, load_coco
from eightgig.tasks.detection.image_index import Match, rightful
from eightgig.tasks.detection.listing import Listing
from eightgig.tasks.detection.reading import whole_number


@dataclass(frozen=True)
class _Categories:
    """By id: the label and the name."""

    labels: Mapping[Id, int]
    names: Mapping[Id, str]


def read_coco(listing: Listing, paths: Sequence[Path], left_out: Sequence[str] = ()) -> DetectionFolder:
    """Return the images and boxes of JSON files, one a split where their names or folders say so.

    The classes are the categories in the order of their numbers.

    Args:
        listing: all files.
        paths: the JSON files.
        left_out: files that look like COCO's too, which is told.

    Raises:
        DataError: there is no file, one is not COCO's JSON, or two have different categories.
    """
    if not paths:
        raise DataError(
            f"{listing.root}: wanted COCO's JSON, found no file with images, annotations and categories. Set "
            "data.annotations to it."
        )
    files = sorted(
        (load_coco(listing, path) for path in paths),
        key=lambda file: (SPLITS.index(file.split or "train"), file.name),
    )
    try:
        listed, names = classes_of(files)
    except DataError as error:
        raise DataError(f"{listing.root}: {error}") from error
    classes = require_names(f"{listing.root}: {files[0].name}", listed)
    label_of = {name: label for label, name in enumerate(classes)}
    categories = _Categories({key: label_of[name] for key, name in names.items()}, names)
    findings = [*_same_names(files[0].name, names), *map(_not_read, left_out)]
    return _collect(listing, files, classes, categories, findings)


def _collect(
    listing: Listing,
    files: Sequence[CocoFile],
    classes: tuple[str, ...],
    categories: _Categories,
    findings: list[Finding],
) -> DetectionFolder:
    images: dict[str, AnnotatedImage] = {}
    for file in files:
        for each in _read_file(listing, file, categories):
            if isinstance(each, Finding):
                findings.append(each)
            else:
                images[each.path] = _merged(images[each.path], each) if each.path in images else each
    findings += [*_unlabelled(listing, images), *without_split(images.values())]
    ordered = tuple(images[path] for path in sorted(images))
    return DetectionFolder(listing.root, "coco", classes, ordered, tuple(findings))


def _read_file(listing: Listing, file: CocoFile, categories: _Categories) -> Iterator[AnnotatedImage | Finding]:
    """Yield each image of a file, and findings about entries without one."""
    by_image: dict[Id, list[Json]] = defaultdict(list)
    for each in file.annotations:
        key = file.ids.key(each.get("image_id")) if isinstance(each, dict) else None
        if key is None:
            yield Finding("", "malformed_label", f"an annotation without an image: {each!r:.80}", "refused", file.name)
        else:
            by_image[key].append(each)
    yield from _ids_used_twice(file)
    entries: dict[str, list[tuple[Json, Match]]] = defaultdict(list)
    for image in _entries(file):
        if isinstance(image, Finding):
            yield image
            continue
        match = listing.match(image["file_name"], beside=file.folder, split=file.split or "")
        if len(match.paths) == 1 and match.is_sure:
            entries[match.paths[0]].append((image, match))
        else:
            yield not_found(image["file_name"], match, file.name)
    yield from _orphans(file, by_image)
    for path, claims in entries.items():
        rights = rightful([(image["file_name"], match) for image, match in claims])
        for (image, _), may in zip(claims, rights, strict=True):
            if may:
                yield _read_image(path, file, image, by_image[_key(file, image)], categories)
            else:
                yield claimed_twice(image["file_name"], path, file.name)


def _entries(file: CocoFile) -> Iterator[Json | Finding]:
    """Yield the entries that can be used; two images with one id cannot, as nobody knows whose the boxes are."""
    names: dict[Id, list[str]] = defaultdict(list)
    for image in filter(lambda image: _is_image(file, image), file.images):
        names[_key(file, image)].append(image["file_name"])
    seen: set[Id] = set()
    for image in file.images:
        if not _is_image(file, image):
            yield Finding("", "malformed_label", f"an image without id or name: {image!r:.80}", "refused", file.name)
            continue
        key, name = _key(file, image), image["file_name"]
        if len(set(map(name_key, names[key]))) > 1:
            detail = f"{len(names[key])} images have the id {image['id']!r:.40}"
            yield Finding(name, "ambiguous_image", detail, "refused", file.name)
        elif key in seen:
            yield Finding(name, "duplicate_entry", "the same id and name once more", "kept", file.name)
        else:
            seen.add(key)
            yield image


def _is_image(file: CocoFile, image: object) -> bool:
    return isinstance(image, dict) and _key(file, image) is not None and isinstance(image.get("file_name"), str)


def _key(file: CocoFile, image: Json) -> Id:
    return file.ids.key(image.get("id"))  # type: ignore[return-value]


def _orphans(file: CocoFile, by_image: Mapping[Id, list[Json]]) -> Iterator[Finding]:
    """Yield the annotations of images that the file does not list."""
    known = {_key(file, image) for image in file.images if isinstance(image, dict)}
    for key, orphans in by_image.items():
        if key not in known:
            for each in orphans:
                detail = f"not one image has the id {each['image_id']!r:.40}"
                yield Finding("", "label_without_image", detail, "refused", file.name, _line(each))


def _read_image(
    path: str, file: CocoFile, image: Json, annotations: list[Json], categories: _Categories
) -> AnnotatedImage:
    boxes, findings = _read_boxes(path, file, annotations, categories)
    if not annotations:
        findings = (Finding(path, "empty_label", "no annotation for it; taken as background", "kept", file.name),)
    split = file.split or split_above(path) or ""
    return AnnotatedImage(path, file.name, boxes, split, findings, _declared_size(image))


def _read_boxes(
    path: str, file: CocoFile, annotations: list[Json], categories: _Categories
) -> tuple[tuple[RawBox, ...], tuple[Finding, ...]]:
    boxes: list[RawBox] = []
    findings: list[Finding] = []
    for each in annotations:
        category, line = Ids().key(each.get("category_id")), _line(each)
        if category is None or category not in categories.labels:
            detail = f"category {each.get('category_id')!r:.40} is not among the categories"
            findings.append(Finding(path, "unknown_class", detail, "refused", file.name, line))
            continue
        name = categories.names[category]
        if is_crowd(each):
            detail = "it is around a crowd, not one object"
            findings.append(Finding(path, "crowd", detail, "box left out", file.name, line, name))
            continue
        try:
            corners, origin = corners_of(each)
        except ValueError as error:
            findings.append(Finding(path, "malformed_label", str(error), "refused", file.name, line, name))
            continue
        boxes.append(RawBox(categories.labels[category], *corners, line))
        if origin != "bbox":
            detail = f"it has no bbox; the box around its {origin} is taken"
            findings.append(Finding(path, "box_around", detail, "kept", file.name, line, name))
    return tuple(boxes), tuple(findings)


def _line(annotation: Json) -> int | None:
    """Return the annotation's id, which stands for a line; a table's whole numbers have 63 bits."""
    key = whole_number(annotation.get("id"))
    return key if key is not None and 0 <= key < 2**63 else None


def _declared_size(image: Json) -> tuple[int, int] | None:
    width, height = whole_number(image.get("width")), whole_number(image.get("height"))
    return (width, height) if width and height and width > 0 and height > 0 else None


def _merged(first: AnnotatedImage, second: AnnotatedImage) -> AnnotatedImage:
    """Join two entries of one image: the boxes of the same split, or else those of the first."""
    if first.split == second.split:
        detail = f"two entries of one image ({first.file}, {second.file}); the boxes of both are taken"
        double = Finding(first.path, "duplicate_entry", detail, "kept", second.file)
        boxes, findings = first.boxes + second.boxes, (*first.findings, *second.findings, double)
        return replace(
            first, boxes=boxes, findings=tuple(f for f in findings if not (boxes and f.reason == "empty_label"))
        )
    double = in_two_splits(first.path, first.split, second.split, second.file)
    return replace(first, findings=(*first.findings, double))


def _ids_used_twice(file: CocoFile) -> Iterator[Finding]:
    counts = Counter(Ids().key(each.get("id")) for each in file.annotations if isinstance(each, dict))
    twice = [key for key, count in counts.items() if key is not None and count > 1]
    if twice:
        detail = f"{len(twice)} ids of annotations are used more than once, such as {twice[0]!r:.40}; all are taken"
        yield Finding("", "duplicate_id", detail, "kept", file.name)


def _same_names(file: str, names: Mapping[Id, str]) -> Iterator[Finding]:
    ids: dict[str, list[str]] = defaultdict(list)
    for key, name in names.items():
        ids[name].append(str(key))
    for name, keys in ids.items():
        if len(keys) > 1:
            detail = f"the categories {all_quoted(keys)} have one name; they are one class"
            yield Finding("", "one_class", detail, "kept", file, class_name=name)


def _not_read(file: str) -> Finding:
    detail = "it looks like COCO's JSON too, but files named as COCO's are there; set data.annotations to read it"
    return Finding("", "not_read", detail, "kept", file)


def _unlabelled(listing: Listing, images: Iterable[str]) -> Iterator[Finding]:
    """Yield the images that no file names, in folders where others are named."""
    named = set(images)
    folders = {posixpath.dirname(path) for path in named}
    for path in listing.images:
        if posixpath.dirname(path) in folders and path not in named:
            yield Finding(path, "no_label", "no JSON file names it; nobody looked for objects in it", "refused")
