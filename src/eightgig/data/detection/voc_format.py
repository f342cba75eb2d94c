"""Pascal VOC's format: an XML file a picture, and perhaps lists of the splits in ImageSets/Main.

Pixels count from 1 there, and the last one belongs to the box: the edges are xmin - 1, ymin - 1, xmax, ymax. Objects
marked difficult are kept.
"""

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.data.detection.annotated import (
    AnnotatedPicture,
    DetectionFolder,
    Finding,
    RawBox,
    in_two_splits,
    require_names,
    without_split,
)
from eightgig.data.detection.listing import Listing, split_of_folder
from eightgig.data.detection.reading import number, numbered_lines, read_label, read_label_text
from eightgig.data.detection.voc_xml import VocFile, VocObject, parse_voc

Parsed = VocFile | ImageRejectedError
_SETS = {"train.txt": "train", "val.txt": "val", "test.txt": "test", "trainval.txt": "train"}
_UNION = "trainval.txt"


def read_voc(listing: Listing, folder: Path | None) -> DetectionFolder:
    """Give the pictures and boxes of the XML files below `folder`; without one, of all below the root.

    The classes are the names of all objects in alphabetical order. A picture is found by the name in its XML file, or
    by the XML file's own where that one is wrong.

    Raises:
        DataError: there are no XML files, no objects in them, or a class name cannot be used.
    """
    parsed = {file: _parse(listing.root / file) for file in _xml_files(listing, folder)}
    if not parsed:
        raise DataError(f"{folder or listing.root}: wanted VOC's XML files, found none. Set data.annotations to them.")
    names = {each.name for file in parsed.values() if isinstance(file, VocFile) for each in file.objects if each.name}
    classes = require_names(str(folder or listing.root), sorted(names))
    splits, doubles = _listed_splits(listing)
    labels = {name: label for label, name in enumerate(classes)}
    pictures, findings = _match(listing, parsed, labels, splits)
    findings += [
        in_two_splits(path, splits[stem], *doubles[stem])
        for path, stem in ((path, _stem(path)) for path in sorted(pictures))
        if stem in doubles
    ]
    findings += [*_unlabelled(listing, pictures), *without_split(pictures.values())]
    ordered = tuple(pictures[path] for path in sorted(pictures))
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


def _listed_splits(listing: Listing) -> tuple[dict[str, str], dict[str, tuple[str, str, int]]]:
    """Give each name's first split by the lists of ImageSets/Main, and (split, file, line) of a second one."""
    splits: dict[str, str] = {}
    doubles: dict[str, tuple[str, str, int]] = {}
    for name, split in _SETS.items():
        for file in listing.files:
            if not f"/{file}".endswith(f"/ImageSets/Main/{name}"):
                continue
            for line, text in _lines(listing, file):
                stem = text.split()[0]
                if splits.setdefault(stem, split) != split and name != _UNION:
                    doubles[stem] = (split, file, line)
    return splits, doubles


def _lines(listing: Listing, file: str) -> list[tuple[int, str]]:
    try:
        return numbered_lines(read_label_text(listing.root / file))
    except ImageRejectedError as error:
        raise DataError(f"{listing.root / file}: {error.detail}. Mend or remove it.") from error


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]


def _match(
    listing: Listing, parsed: Mapping[str, Parsed], labels: Mapping[str, int], splits: Mapping[str, str]
) -> tuple[dict[str, AnnotatedPicture], list[Finding]]:
    """Find each XML file's picture."""
    pictures: dict[str, AnnotatedPicture] = {}
    findings = []
    for file, content in parsed.items():
        found = _find(listing, file, content)
        if len(found) != 1:
            name = content.filename if isinstance(content, VocFile) else ""
            reason = "ambiguous_picture" if found else "label_without_picture"
            findings.append(Finding(name, reason, f"{len(found)} pictures of this name", "refused", file))
        elif found[0] in pictures:
            detail = f"it is about {found[0]}, as {pictures[found[0]].file} is, which is taken"
            findings.append(Finding("", "ambiguous_picture", detail, "refused", file))
        else:
            split = splits.get(_stem(found[0]), "") if splits else split_of_folder(found[0])
            pictures[found[0]] = _annotated(found[0], file, content, labels, split)
    return pictures, findings


def _find(listing: Listing, file: str, content: Parsed) -> list[str]:
    """Give the pictures that an XML file may be about."""
    stated = content.filename if isinstance(content, VocFile) else ""
    folder, split = posixpath.dirname(file), split_of_folder(file)
    by_own_name = listing.find(posixpath.basename(file), beside=folder, split=split)
    if not stated:
        return by_own_name
    return listing.find(stated, beside=folder, split=split) or by_own_name


def _annotated(path: str, file: str, content: Parsed, labels: Mapping[str, int], split: str) -> AnnotatedPicture:
    if isinstance(content, ImageRejectedError):
        return AnnotatedPicture(
            path, file, (), split, (Finding(path, content.reason, content.detail, "refused", file),)
        )
    boxes: list[RawBox] = []
    findings: list[Finding] = []
    for each in content.objects:
        try:
            boxes.append(_box(each, labels))
        except ValueError as error:
            findings.append(Finding(path, "malformed_label", str(error), "refused", file, each.line, each.name))
    if not content.objects:
        findings.append(Finding(path, "empty_label", "no object in it; taken as background", "kept", file))
    return AnnotatedPicture(path, file, tuple(boxes), split, tuple(findings), content.size)


def _box(each: VocObject, labels: Mapping[str, int]) -> RawBox:
    if not each.name:
        raise ValueError("an object without a name")
    missing = [edge for edge, text in each.edges.items() if text is None]
    if missing:
        raise ValueError(f"an object without {', '.join(missing)}")
    left, top, right, bottom = (number(text) for text in each.edges.values())
    return RawBox(labels[each.name], left - 1, top - 1, right, bottom, each.line)


def _unlabelled(listing: Listing, pictures: Mapping[str, AnnotatedPicture]) -> Iterator[Finding]:
    """Give the pictures without an XML file, in folders where others have one (not folders of masks)."""
    folders = {posixpath.dirname(path) for path in pictures}
    for path in listing.pictures:
        if posixpath.dirname(path) in folders and path not in pictures:
            yield Finding(path, "no_label", "no XML file is about it; nobody looked for objects in it", "refused")
