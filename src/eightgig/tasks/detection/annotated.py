"""What all annotation formats are read into, before any image is opened, and the findings on the way.

Reasons (the `reason` column of the rejects), beside those of `eightgig.data.images.decoding`:
    malformed_label         a label file, or a line of it, cannot be understood
    unknown_class           a class number or category that the list of classes does not have
    not_finite              a box with NaN or infinity
    inverted_box            a box with its right edge left of its left one, or its bottom above its top
    size_differs            the label was made for an image of another size
    missing_image         an image is listed, but is not there
    ambiguous_image       several images could be the one that is meant
    label_without_image   a label file, or an annotation, of which nobody has the image
    no_label                an image without a label: background (YOLO), or left out (VOC, COCO)
    empty_label             an image whose label holds no box: background
    outside                 a box that reaches out of its image: cut at the edge, or left out if little is inside
    too_small_box           a box with a side below `min_box_side`
    duplicate_box           the same class and corners once more
    crowd                   a COCO box around a crowd of objects
    in_two_splits           the same image in two ready-made splits: kept in the first of train, val, test
    missing_split           a ready-made split that is named, but is not there
    no_split                an image that the ready-made splits do not name: for training
    conflicting_boxes       copies of one image with different boxes

Actions: the whole image or label file was `refused`, or less than that: `box left out`, `box clipped`, `kept`.

An image with a label that cannot be understood is refused whole: without the box, training on it would teach that the
object is background.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from eightgig.core.errors import DataError
from eightgig.core.names import all_quoted, composed, quoted
from eightgig.data.ingest.findings import Finding
from eightgig.tasks.detection.image_index import Match

Format = Literal["yolo", "voc", "coco"]
_MOST_NAMED = 4


class RawBox(NamedTuple):
    """A box as it was read, not yet checked: corners in pixels, or in shares of the image's sides."""

    label: int
    x1: float
    y1: float
    x2: float
    y2: float
    line: int | None


@dataclass(frozen=True)
class AnnotatedImage:
    """An image and what its label says.

    Attributes:
        path: relative to the root, forward slashes.
        file: the label file, likewise; empty where there is none.
        boxes: as they were read.
        split: ready-made: `train`, `val`, `test`, or empty.
        findings: about this image.
        declared_size: width and height in pixels that the label was made for, where it says so.
        note: what a person may want to know, otherwise empty.
    """

    path: str
    file: str
    boxes: tuple[RawBox, ...]
    split: str = ""
    findings: tuple[Finding, ...] = ()
    declared_size: tuple[int, int] | None = None
    note: str = ""


@dataclass(frozen=True)
class DetectionFolder:
    """A folder of images with boxes, whichever format it came in; no image has been opened yet.

    Boxes are taken to be drawn on the upright image, after EXIF orientation. Where a label states the size of the
    image as it was before it was turned, the image is refused.

    Attributes:
        root: the folder that paths are relative to.
        source: the format.
        classes: names; a label is a position in it.
        images: ordered by path.
        findings: what belongs to no image of `images`.
        in_shares: whether boxes are shares (0 to 1) of the image's sides, as in YOLO; otherwise pixels.
    """

    root: Path
    source: Format
    classes: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]
    findings: tuple[Finding, ...] = ()
    in_shares: bool = False


def require_names(where: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the class names in Unicode's composed form, which must be different texts without control characters.

    Raises:
        DataError: they are not; the first bad one is named.
    """
    if not names:
        raise DataError(f"{where}: wanted the names of the classes, found none. Add them.")
    for name in names:
        if not name.strip() or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise DataError(f"{where}: wanted class names that are text, found {name!r}. Rename this class.")
    made = [class_name(name) for name in names]
    double = next((name for name, count in Counter(made).items() if count > 1), None)
    if double is not None:
        same = all_quoted(dict.fromkeys(name for name in names if class_name(name) == double))
        raise DataError(f"{where}: two classes are called {same}. Rename one.")
    return tuple(made)


def class_name(name: str) -> str:
    """Return a class's name as it is compared: composed, without blanks at its ends."""
    return composed(name.strip())


def in_two_splits(path: str, first: str, second: str, file: str = "", line: int | None = None) -> Finding:
    """Return the finding that an image of split `first` is named by `second` too."""
    return Finding(path, "in_two_splits", f"in {first} and {second}; kept in {first}", "kept", file, line)


def not_found(name: str, match: Match, file: str, line: int | None = None) -> Finding:
    """Return the finding that no image, or not one alone, can be meant by a label's `name`."""
    if len(match.paths) > 1:
        shown = all_quoted(match.paths[:_MOST_NAMED])
        return Finding(
            name, "ambiguous_image", f"{len(match.paths)} images could be meant: {shown}", "refused", file, line
        )
    detail = "there is no image of this name"
    if match.paths:
        detail += f" in such a folder; {quoted(match.paths[0], name)} lies in another"
    return Finding(name, "missing_image", detail, "refused", file, line)


def claimed_twice(name: str, path: str, file: str, line: int | None = None) -> Finding:
    """Return the finding that another name of the same labels means the image at `path` with more right."""
    detail = f"it could only mean {quoted(path, name)}, which another name of these labels means, or means as well"
    return Finding(name, "ambiguous_image", detail, "refused", file, line)


def without_split(images: Iterable[AnnotatedImage]) -> tuple[Finding, ...]:
    """Return a finding for each image without a ready-made split, where others have one."""
    listed = tuple(images)
    if not any(image.split for image in listed):
        return ()
    detail = "no ready-made split names it; it is taken for training"
    return tuple(Finding(image.path, "no_split", detail, "kept") for image in listed if not image.split)
