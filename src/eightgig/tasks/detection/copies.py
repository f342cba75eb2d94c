"""Copies of one image: they must agree in their boxes and lie in one split."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eightgig.data.images.decoding import Inspection
from eightgig.data.ingest.split_names import SPLITS
from eightgig.tasks.detection.annotated import Finding
from eightgig.tasks.detection.checks import CheckedBox

_SAME_PIXELS = 2.0


@dataclass(frozen=True)
class UsableImage:
    """An image that can be used, and its boxes."""

    path: str
    split: str
    inspection: Inspection
    boxes: Sequence[CheckedBox]
    note: str = ""


def settle_copies(images: Sequence[UsableImage]) -> tuple[list[UsableImage], list[Finding]]:
    """Return the images in their order, and findings about those that show the same as another one.

    Copies with different boxes are all left out, since nobody can tell which are right. Copies in several ready-made
    splits go to the first of train, val and test, so that nothing which is trained on is measured on too.
    """
    by_content: dict[str, list[UsableImage]] = defaultdict(list)
    for each in images:
        by_content[each.inspection.content_hash].append(each)
    settled: dict[str, UsableImage] = {}
    findings: list[Finding] = []
    for copies in by_content.values():
        if len(copies) > 1 and not all(_agree(copies[0].boxes, other.boxes) for other in copies[1:]):
            findings += _conflict(copies)
            continue
        split = _first_split(copy.split for copy in copies)
        settled |= {copy.path: replace(copy, split=split) for copy in copies}
        findings += [_moved(copy, split) for copy in copies if copy.split != split]
    return [settled[each.path] for each in images if each.path in settled], findings


def _agree(first: Sequence[CheckedBox], second: Sequence[CheckedBox]) -> bool:
    """Tell whether two lists hold the same boxes, in any order, up to what a change of format rounds away."""
    if len(first) != len(second):
        return False
    one, other = (np.array(boxes, dtype=float).reshape(-1, 5) for boxes in (first, second))
    near = (np.abs(one[:, None, 1:] - other[None, :, 1:]).max(-1, initial=0) <= _SAME_PIXELS) & (
        one[:, None, 0] == other[None, :, 0]
    )
    return bool(near.any(0).all() and near.any(1).all())


def _conflict(copies: Sequence[UsableImage]) -> list[Finding]:
    detail = "the same image with different boxes: " + ", ".join(sorted(copy.path for copy in copies))
    return [Finding(copy.path, "conflicting_boxes", detail, "refused") for copy in copies]


def _first_split(splits: Iterable[str]) -> str:
    return min(splits, key=[*SPLITS, ""].index)


def _moved(copy: UsableImage, split: str) -> Finding:
    detail = f"in {copy.split or 'no split'}, and a copy of it in {split}; both kept in {split}"
    return Finding(copy.path, "in_two_splits", detail, "kept")
