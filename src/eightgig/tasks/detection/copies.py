"""Copies of one image: they must agree in their boxes and lie in one split."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from eightgig.data.ingest.findings import KEPT, Finding
from eightgig.data.ingest.split_names import SPLITS
from eightgig.tasks.detection.checks import CheckedBox

_SAME_PIXELS = 2.0


def settle_copies(images: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    """Return the images in their order, and findings about those that show the same as another one.

    Copies with different boxes are all left out, since nobody can tell which are right. Copies in several ready-made
    splits go to the first of train, val and test, so that nothing which is trained on is measured on too.

    Args:
        images: of each its `path`, `split`, `content_hash` and `boxes`, a list of checked ones.
    """
    splits, is_kept = images["split"].copy(), pd.Series(True, index=images.index)
    findings: list[Finding] = []
    for _, copies in images[images.duplicated("content_hash", keep=False)].groupby("content_hash", sort=False):
        first, *others = copies["boxes"]
        if not all(_agree(first, other) for other in others):
            is_kept[copies.index] = False
            findings += _conflict(copies["path"])
            continue
        splits[copies.index] = split = _first_split(copies["split"])
        findings += [
            _moved(path, own, split) for path, own in zip(copies["path"], copies["split"], strict=True) if own != split
        ]
    return images.assign(split=splits)[is_kept].reset_index(drop=True), findings


def _agree(first: Sequence[CheckedBox], second: Sequence[CheckedBox]) -> bool:
    """Tell whether two lists hold the same boxes, in any order, up to what a change of format rounds away."""
    if len(first) != len(second):
        return False
    one, other = (np.array(boxes, dtype=float).reshape(-1, 5) for boxes in (first, second))
    near = (np.abs(one[:, None, 1:] - other[None, :, 1:]).max(-1, initial=0) <= _SAME_PIXELS) & (
        one[:, None, 0] == other[None, :, 0]
    )
    return bool(near.any(0).all() and near.any(1).all())


def _conflict(paths: Iterable[str]) -> list[Finding]:
    listed = list(paths)
    detail = "the same image with different boxes: " + ", ".join(sorted(listed))
    return [Finding(path, "conflicting_boxes", detail) for path in listed]


def _first_split(splits: Iterable[str]) -> str:
    return min(splits, key=[*SPLITS, ""].index)


def _moved(path: str, own: str, split: str) -> Finding:
    detail = f"in {own or 'no split'}, and a copy of it in {split}; both kept in {split}"
    return Finding(path, "in_two_splits", detail, KEPT)
