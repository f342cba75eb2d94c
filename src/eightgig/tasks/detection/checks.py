"""The boxes of one image, checked against it: what is kept, cut or left out, and when the image is refused."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from eightgig.data.ingest.findings import Finding
from eightgig.tasks.detection.annotated import AnnotatedImage, DetectionFolder, RawBox

TOLERANCE_PIXELS = 1.0
TOLERANCE_SHARE = 0.002
"""A box may reach out by the larger of these, in pixels and as share of the side: it is cut without a word."""
MIN_SHARE_INSIDE = 1 / 3
"""Of a box that reaches out further, less than this share of its area inside is no longer the object."""
_DIGITS = 2


class CheckedBox(NamedTuple):
    """A box inside its image, in pixels; its label is a position in the classes."""

    label: int
    x1: float
    y1: float
    x2: float
    y2: float


def check_boxes(
    folder: DetectionFolder, image: AnnotatedImage, width: int, height: int, min_side: float
) -> tuple[list[CheckedBox], list[Finding]]:
    """Return the boxes that can be used, in pixels, and a finding for each that was changed or left out.

    Where a finding's action is `refused`, the image must not be used.

    Args:
        folder: where the image is from.
        image: what its label says.
        width: of the upright image, in pixels.
        height: likewise.
        min_side: a box with a shorter side, in pixels, is left out.
    """
    findings = list(_check_size(image, width, height))
    boxes: dict[CheckedBox, CheckedBox] = {}
    for raw in image.boxes:
        in_pixels = _in_pixels(raw, width, height) if folder.in_shares else raw
        box, finding = _check_box(in_pixels, width, height, min_side)
        if box and boxes.setdefault(_rounded(box), box) is not box:
            finding = Finding("", "duplicate_box", "another box has the same class and corners", "box left out")
        if finding:
            name = folder.classes[raw.label]
            findings.append(finding._replace(path=image.path, file=image.file, line=raw.line, class_name=name))
    return list(boxes.values()), findings


def _rounded(box: CheckedBox) -> CheckedBox:
    """Tools that write shares lose some digits, so equal corners may differ by less than anyone means."""
    return CheckedBox(box.label, *(round(value, _DIGITS) for value in box[1:]))


def _in_pixels(box: RawBox, width: int, height: int) -> RawBox:
    return box._replace(x1=box.x1 * width, y1=box.y1 * height, x2=box.x2 * width, y2=box.y2 * height)


def _check_size(image: AnnotatedImage, width: int, height: int) -> Iterator[Finding]:
    """Boxes of another size would lie elsewhere; whether they should be scaled or turned, nobody can tell."""
    if image.declared_size in (None, (width, height)):
        return
    wide, high = image.declared_size or (0, 0)
    detail = f"the label is for {wide} x {high} pixels, the image has {width} x {height}"
    if (wide, high) == (height, width):
        detail += "; the boxes may be drawn on the image before it was turned upright by its EXIF orientation"
    action = "refused" if image.boxes else "kept"
    yield Finding(image.path, "size_differs", detail, action, image.file)


def _check_box(box: RawBox, width: int, height: int, min_side: float) -> tuple[CheckedBox | None, Finding | None]:
    corners = f"{box.x1:.6g}, {box.y1:.6g}, {box.x2:.6g}, {box.y2:.6g}"
    if not all(map(math.isfinite, box[1:5])):
        return None, Finding("", "not_finite", f"the box is {corners}", "refused")
    if box.x2 < box.x1 or box.y2 < box.y1:
        return None, Finding("", "inverted_box", f"the box is {corners}", "refused")
    cut = _cut(box, width, height)
    detail = f"the box is {corners}, the image {width} x {height} pixels"
    if _area(cut) < MIN_SHARE_INSIDE * _area(box):
        return None, Finding("", "outside", f"{detail}; too little of it is inside", "box left out")
    if min(cut.x2 - cut.x1, cut.y2 - cut.y1) < min_side:
        return None, Finding("", "too_small_box", f"{detail}; at least {min_side:g} a side are wanted", "box left out")
    if _is_nearly_inside(box, width, height):
        return cut, None
    return cut, Finding("", "outside", detail, "box clipped")


def _cut(box: RawBox, width: int, height: int) -> CheckedBox:
    x1, x2 = (min(max(x, 0.0), float(width)) for x in (box.x1, box.x2))
    y1, y2 = (min(max(y, 0.0), float(height)) for y in (box.y1, box.y2))
    return CheckedBox(box.label, x1, y1, x2, y2)


def _area(box: RawBox | CheckedBox) -> float:
    return (box.x2 - box.x1) * (box.y2 - box.y1)


def _is_nearly_inside(box: RawBox, width: int, height: int) -> bool:
    reach_x = max(-box.x1, box.x2 - width)
    reach_y = max(-box.y1, box.y2 - height)
    return reach_x <= _tolerance(width) and reach_y <= _tolerance(height)


def _tolerance(side: int) -> float:
    return max(TOLERANCE_PIXELS, TOLERANCE_SHARE * side)
