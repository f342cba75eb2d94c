"""Pascal VOC's format: an XML file an image, and perhaps lists of the splits in ImageSets/Main.

Pixels count from 1 there, and the last one belongs to the box: the edges are xmin - 1, ymin - 1, xmax, ymax. Objects
marked difficult are kept.
"""

import posixpath
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.core.names import all_quoted, name_key, quoted
from eightgig.data.ingest.findings import Finding
from eightgig.data.ingest.split_names import SPLITS, Split, split_above, split_of
from eightgig.tasks.detection.annotated import (
    AnnotatedImage,
    DetectionFolder,
    RawBox,
    class_name,
    in_two_splits,
    require_names,
    without_split,
)
from eightgig.tasks.detection.image_index import Match
from eightgig.tasks.detection.listing import Listing
from eightgig.tasks.detection.reading import number, numbered_lines, read_label, read_label_text
from eightgig.tasks.detection.voc_xml import VocFile, VocObject, parse_voc

Parsed = VocFile | ImageRejectedError
_UNION = "trainval"
_SETS_FOLDER = "imagesets/main"


class _Claim(NamedTuple):
    """An XML file and the image that it is about; `note` says where its <filename> does not fit."""

    file: str
    path: str
    note: str = ""


def read_voc(listing: Listing, folder: Path | None) -> DetectionFolder:
    """Return the images and boxes of the XML files below `folder`; without one, of all below the root.

    The classes are the names of all objects in alphabetical order. An image is found by the name in its XML file, or
    by the XML file's own where that one is wrong.

    Raises:
        DataError: there are no XML files, no objects in them, or a class name cannot be used.
    """
    parsed = {file: _parse(listing.root / file) for file in _xml_files(listing, folder)}
    if not parsed:
        raise DataError(f"{folder or listing.root}: wanted VOC's XML files, found none. Set data.annotations to them.")
    names = {each.name for file in parsed.values() if isinstance(file, VocFile) for each in file.objects if each.name}
    classes = require_names(str(folder or listing.root), sorted(set(map(class_name, names))))
    labels = {name: label for label, name in enumerate(classes)}
    splits = _listed_splits(listing)
    images, findings = _match(listing, parsed, labels)
    findings += [*_differ_in_case(classes), *_from_zero(parsed)]
    if splits.by_name:
        images, found = _with_splits(images, splits)
        findings += found
    findings += [*_unlabelled(listing, images), *without_split(images.values())]
    ordered = tuple(images[path] for path in sorted(images))
    return DetectionFolder(listing.root, "voc", classes, ordered, tuple(findings))


def _xml_files(listing: Listing, folder: Path | None) -> list[str]:
    if folder is None:
        named = [f for f in listing.files if "annotations" in map(str.lower, f.split("/")[:-1]) and _is_xml(f)]
        return named or [file for file in listing.files if _is_xml(file)]
    inside = listing.relative(folder)
    if inside is None:
        raise DataError(
            f"{folder}: wanted a folder below {listing.root}. Move the XML files there, or raise data.root."
        )
    return [file for file in listing.files if file.startswith(f"{inside}/" if inside else "") and _is_xml(file)]


def _is_xml(file: str) -> bool:
    return file.lower().endswith(".xml")


def _parse(path: Path) -> Parsed:
    try:
        return parse_voc(read_label(path))
    except ImageRejectedError as error:
        return error


class _Splits(NamedTuple):
    """What the lists of ImageSets/Main say.

    Attributes:
        by_name: split, file and line of each name, as it stands in the list.
        doubles: the same of a second split that names it.
    """

    by_name: dict[str, tuple[str, str, int]]
    doubles: dict[str, tuple[str, str, int]]


def _listed_splits(listing: Listing) -> _Splits:
    """Return each name's first split: that of train, val and test, and train for what only trainval names."""
    splits = _Splits({}, {})
    for split, file in sorted(_lists(listing), key=lambda each: (_is_union(each[1]), SPLITS.index(each[0]))):
        for line, text in _lines(listing, file):
            first = splits.by_name.setdefault(name_key(text), (split, file, line))
            if first[0] != split and not _is_union(file):
                splits.doubles[name_key(text)] = (split, file, line)
    return splits


def _lists(listing: Listing) -> Iterator[tuple[Split, str]]:
    for file in listing.files:
        if posixpath.dirname(file).lower().endswith(_SETS_FOLDER) and file.lower().endswith(".txt"):
            split = "train" if _is_union(file) else split_of(_stem(file))
            if split:
                yield split, file


def _is_union(file: str) -> bool:
    return _stem(file).lower() == _UNION


def _lines(listing: Listing, file: str) -> list[tuple[int, str]]:
    try:
        return numbered_lines(read_label_text(listing.root / file))
    except ImageRejectedError as error:
        raise DataError(f"{listing.root / file}: {error.detail}. Mend or remove it.") from error


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]


def _with_splits(
    images: Mapping[str, AnnotatedImage], splits: _Splits
) -> tuple[dict[str, AnnotatedImage], list[Finding]]:
    """Return the images with the splits of the lists, which name them with or without folder, ending or a flag."""
    made: dict[str, AnnotatedImage] = {}
    findings: list[Finding] = []
    used: set[str] = set()
    known = {name for path in images for name in _names_of(path)}
    by_name = {_listed_name(text, known): text for text in splits.by_name}
    for path, image in sorted(images.items()):
        names = [by_name[name] for name in _names_of(path) if name in by_name]
        split = splits.by_name[names[0]][0] if names else ""
        made[path] = replace(image, split=split)
        used.update(names)
        findings += [in_two_splits(path, split, *splits.doubles[name]) for name in names[:1] if name in splits.doubles]
    for name in sorted(set(splits.by_name) - used):
        _, file, line = splits.by_name[name]
        findings.append(Finding(name, "missing_image", "no labelled image of this name", "kept", file, line))
    return made, findings


def _listed_name(text: str, known: Collection[str]) -> str:
    """Return a name without the flag that VOC's lists of a class have behind it; a name may have blanks itself."""
    whole = text.replace("\\", "/").removeprefix("./")
    name, _, flag = whole.rpartition(" ")
    return name.strip() if whole not in known and flag in ("1", "0", "-1") else whole


def _names_of(path: str) -> Iterator[str]:
    """Yield what a list may call an image: the end of its path from any folder on, with the ending or without."""
    parts = name_key(path).split("/")
    for place in range(len(parts)):
        name = "/".join(parts[place:])
        yield name
        yield posixpath.splitext(name)[0]


def _match(
    listing: Listing, parsed: Mapping[str, Parsed], labels: Mapping[str, int]
) -> tuple[dict[str, AnnotatedImage], list[Finding]]:
    """Find each XML file's image."""
    images: dict[str, AnnotatedImage] = {}
    findings = []
    own_images = {path for file in parsed for path in _own(listing, file).paths}
    for file, content in parsed.items():
        found = _find(listing, file, content, own_images)
        if isinstance(found, Finding):
            findings.append(found)
        elif found.path in images:
            detail = f"it is about {found.path}, as {images[found.path].file} is, which is taken"
            findings.append(Finding("", "ambiguous_image", detail, "refused", file))
        else:
            made = _annotated(found.path, file, content, labels, split_above(found.path) or "")
            if found.note:
                made = replace(
                    made, findings=(*made.findings, Finding(found.path, "other_filename", found.note, "kept", file))
                )
            images[found.path] = made
    return images, findings


def _own(listing: Listing, file: str) -> Match:
    folder = posixpath.dirname(file)
    return listing.match(posixpath.basename(file), beside=folder, split=split_above(file) or "")


def _find(listing: Listing, file: str, content: Parsed, own_images: Collection[str]) -> _Claim | Finding:
    """Return the image of an XML file: that of its <filename>, or else of its own name.

    A copied file often keeps the <filename> of the one it was made from. Where both names have an image, the file's
    own is right if the other image has a file of its own name too; else nobody can tell.
    """
    own = _own(listing, file)
    stated = content.filename if isinstance(content, VocFile) else ""
    match = listing.match(stated, beside=posixpath.dirname(file), split=split_above(file) or "") if stated else own
    if not match.paths or not match.is_sure:
        match = own
    if len(match.paths) != 1 or not match.is_sure:
        reason = "ambiguous_image" if len(match.paths) > 1 else "label_without_image"
        return Finding(stated, reason, f"{len(match.paths)} images of this name", "refused", file)
    (path,) = match.paths
    if len(own.paths) != 1 or own.paths == [path]:
        return _Claim(file, path)
    detail = f"its <filename> means {quoted(path, own.paths[0])}, its own name {quoted(own.paths[0], path)}"
    if path in own_images:
        return _Claim(file, own.paths[0], f"{detail}, which is taken: the other has a file of its name")
    return Finding(stated, "ambiguous_image", detail, "refused", file)


def _differ_in_case(classes: Sequence[str]) -> Iterator[Finding]:
    """Objects are named one by one, so that a slip of the hand makes a class."""
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        by_key[name_key(name)].append(name)
    for names in by_key.values():
        if len(names) > 1:
            detail = f"{all_quoted(names)} are {len(names)} classes, whose names differ in case alone"
            yield Finding("", "similar_classes", detail, "kept", class_name=names[0])


def _from_zero(parsed: Mapping[str, Parsed]) -> Iterator[Finding]:
    """Tell of boxes that begin at 0, where VOC counts from 1: all of their set may lie a pixel too far left and up."""
    zero = [
        (file, each.line)
        for file, content in parsed.items()
        if isinstance(content, VocFile)
        for each in content.objects
        if "0" in (each.edges["xmin"], each.edges["ymin"])
    ]
    if zero:
        detail = f"{len(zero)} boxes begin at 0, though VOC counts from 1; all are read as counted from 1"
        yield Finding("", "counted_from_0", detail, "kept", *zero[0])


def _annotated(path: str, file: str, content: Parsed, labels: Mapping[str, int], split: str) -> AnnotatedImage:
    if isinstance(content, ImageRejectedError):
        return AnnotatedImage(path, file, (), split, (Finding(path, content.reason, content.detail, "refused", file),))
    boxes: list[RawBox] = []
    findings: list[Finding] = []
    for each in content.objects:
        try:
            boxes.append(_box(each, labels))
        except ValueError as error:
            findings.append(Finding(path, "malformed_label", str(error), "refused", file, each.line, each.name))
    if not content.objects:
        findings.append(Finding(path, "empty_label", "no object in it; taken as background", "kept", file))
    return AnnotatedImage(path, file, tuple(boxes), split, tuple(findings), content.size)


def _box(each: VocObject, labels: Mapping[str, int]) -> RawBox:
    if not each.name:
        raise ValueError("an object without a name")
    missing = [edge for edge, text in each.edges.items() if text is None]
    if missing:
        raise ValueError(f"an object without {', '.join(missing)}")
    left, top, right, bottom = (number(text) for text in each.edges.values())
    return RawBox(labels[class_name(each.name)], left - 1, top - 1, right, bottom, each.line)


def _unlabelled(listing: Listing, images: Mapping[str, AnnotatedImage]) -> Iterator[Finding]:
    """Yield the images without an XML file, in folders where others have one (not folders of masks)."""
    folders = {posixpath.dirname(path) for path in images}
    for path in listing.images:
        if posixpath.dirname(path) in folders and path not in images:
            yield Finding(path, "no_label", "no XML file is about it; nobody looked for objects in it", "refused")
