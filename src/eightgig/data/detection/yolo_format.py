"""YOLO's format: a data.yaml, folders of pictures, and beside each `images` folder one `labels` with a text a picture.

A line of a label is `class centre_x centre_y width height`, all but the class as shares (0 to 1) of the picture's
sides. A line with a polygon (`class x1 y1 x2 y2 x3 y3 ...`) stands for the box around it.
"""

import math
import posixpath
from collections import defaultdict
from collections.abc import Iterator
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
from eightgig.data.detection.reading import number, numbered_lines, read_label_text
from eightgig.data.detection.yolo_yaml import Listed, read_data_yaml

CLASSES_FILE = "classes.txt"
_POLYGON_NOTE = "boxes around polygons"
# Far from 0 to 1: a label in pixels, or something else altogether.
_SMALLEST_SHARE, _LARGEST_SHARE = -1.0, 2.0


def read_yolo(listing: Listing, data_yaml: Path | None) -> DetectionFolder:
    """Give the pictures and boxes that `data_yaml` names; without one, those of the whole folder.

    A folder without data.yaml has the names of its classes in `classes.txt`, one a line.

    Raises:
        DataError: data.yaml or classes.txt is missing or cannot be understood, or the pictures are not there.
    """
    if data_yaml is None:
        classes = _read_classes(listing)
        listed = [Listed(path, split_of_folder(path), "", None) for path in _picture_folder(listing)]
        findings: tuple[Finding, ...] = ()
    else:
        classes, listed, findings = read_data_yaml(listing, data_yaml)
    splits, doubles = _first_splits(listed)
    pictures = tuple(_read_picture(listing, classes, path, splits[path], doubles[path]) for path in sorted(splits))
    findings += (*_without_picture(listing), *without_split(pictures))
    return DetectionFolder(listing.root, "yolo", classes, pictures, findings, in_shares=True)


def label_path(listing: Listing, picture: str) -> str:
    """Give where the label of `picture` is: the last `images` in its path reads `labels`; or else beside it."""
    stem = posixpath.splitext(picture)[0]
    head, found, tail = f"/{stem}".rpartition("/images/")
    swapped = f"{head}/labels/{tail}.txt".lstrip("/")
    if found and (swapped in listing.file_set or f"{stem}.txt" not in listing.file_set):
        return swapped
    return f"{stem}.txt"


def _read_classes(listing: Listing) -> tuple[str, ...]:
    found = sorted((f for f in listing.files if posixpath.basename(f) == CLASSES_FILE), key=lambda f: (f.count("/"), f))
    if not found:
        raise DataError(
            f"{listing.root}: YOLO labels, but nothing names their classes. Write a data.yaml with 'train' and "
            "'names', or a classes.txt with one name a line."
        )
    path = listing.root / found[0]
    try:
        lines = numbered_lines(read_label_text(path))
    except ImageRejectedError as error:
        raise DataError(f"{path}: {error.detail}. Write one class name a line, in UTF-8.") from error
    return require_names(str(path), [name for _, name in lines])


def _picture_folder(listing: Listing) -> tuple[str, ...]:
    return tuple(path for path in listing.pictures if "images" in path.split("/")[:-1]) or listing.pictures


def _first_splits(listed: list[Listed]) -> tuple[dict[str, str], dict[str, tuple[Finding, ...]]]:
    """Give each picture's first split, and findings where it is named for another one too."""
    splits: dict[str, str] = {}
    doubles: dict[str, tuple[Finding, ...]] = defaultdict(tuple)
    for each in listed:
        first = splits.setdefault(each.path, each.split)
        if first != each.split:
            doubles[each.path] += (in_two_splits(each.path, first, each.split, each.file, each.line),)
    return splits, doubles


def _read_picture(
    listing: Listing, classes: tuple[str, ...], path: str, split: str, findings: tuple[Finding, ...]
) -> AnnotatedPicture:
    file = label_path(listing, path)
    if file not in listing.file_set:
        finding = Finding(path, "no_label", f"there is no {file}; taken as background", "kept")
        return AnnotatedPicture(path, "", (), split, (*findings, finding))
    try:
        lines = numbered_lines(read_label_text(listing.root / file))
    except ImageRejectedError as error:
        return AnnotatedPicture(path, file, (), split, (Finding(path, error.reason, error.detail, "refused", file),))
    boxes, faults = _read_lines(lines, len(classes))
    findings += tuple(Finding(path, each.reason, each.detail, "refused", file, line) for line, each in faults)
    if not boxes and not faults:
        findings += (Finding(path, "empty_label", "no box in it; taken as background", "kept", file),)
    has_polygons = any(len(line.split()) > 5 for _, line in lines)
    return AnnotatedPicture(path, file, boxes, split, findings, note=_POLYGON_NOTE if has_polygons else "")


def _read_lines(
    lines: list[tuple[int, str]], num_classes: int
) -> tuple[tuple[RawBox, ...], list[tuple[int, ImageRejectedError]]]:
    boxes, faults = [], []
    for line, text in lines:
        try:
            boxes.append(_read_line(text, num_classes, line))
        except ImageRejectedError as error:
            faults.append((line, error))
    return tuple(boxes), faults


def _read_line(text: str, num_classes: int, line: int) -> RawBox:
    try:
        first, *values = map(number, text.split())
    except ValueError as error:
        raise ImageRejectedError("malformed_label", f"wanted numbers, found {text!r:.80}") from error
    if len(values) < 4 or len(values) == 5 or len(values) % 2:
        raise ImageRejectedError("malformed_label", f"wanted a class and 4 numbers, or 6 or more, found {text!r:.80}")
    if any(math.isfinite(value) and not _SMALLEST_SHARE <= value <= _LARGEST_SHARE for value in values):
        raise ImageRejectedError("malformed_label", f"wanted shares from 0 to 1, found {text!r:.80}")
    if not 0 <= first < num_classes or not first.is_integer():
        raise ImageRejectedError("unknown_class", f"class {first:g}, but the classes are 0 to {num_classes - 1}")
    return RawBox(int(first), *_corners(values), line)


def _corners(values: list[float]) -> tuple[float, float, float, float]:
    if len(values) > 4:
        return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    x, y, width, height = values
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _without_picture(listing: Listing) -> Iterator[Finding]:
    """Give the labels of pictures that are not there."""
    expected = {label_path(listing, picture) for picture in listing.pictures}
    for file in listing.files:
        folders, name = file.split("/")[:-1], posixpath.basename(file)
        if "labels" in folders and name.endswith(".txt") and name != CLASSES_FILE and file not in expected:
            yield Finding("", "label_without_picture", "there is no picture of this name", "refused", file)
