"""Which box found belongs to which true box: for images, for the confusion table, and to compare two runners."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from eightgig.core.errors import DataError
from eightgig.data.store.boxes import Boxes
from eightgig.tasks.detection.detections import Detections
from eightgig.tasks.detection.records import DetectionDifference

BACKGROUND = "background"
Places = NDArray[np.int64]
Overlaps = NDArray[np.float32]


class Match(NamedTuple):
    """How the boxes found in one image and the true ones belong together.

    Attributes:
        hits_H2: place of the detection and of its true box, a row a pair, best score first.
        misses: places of the true boxes that nothing found.
        false_alarms: places of the detections that have no true box; those below the confidence are in none of them.
    """

    hits_H2: Places
    misses: Places
    false_alarms: Places


def match(detections: Detections, truth: Boxes, *, iou: float = 0.5, confidence: float = 0.25) -> Match:
    """Return hits, misses and false alarms of one image by COCO's rule: class by class, the best score chooses first.

    Args:
        detections: of the image, best first.
        truth: its true boxes.
        iou: smallest overlap of a hit.
        confidence: detections with a lower score are passed over.
    """
    overlaps_DT = _overlaps(detections.boxes_xyxy_M4, truth.xyxy_M4)
    overlaps_DT[detections.labels_M[:, None] != truth.labels_M] = 0
    overlaps_DT[detections.scores_M < confidence] = 0
    hits_H2 = _pairs(overlaps_DT, iou)
    confident = np.flatnonzero(detections.scores_M >= confidence)
    return Match(
        hits_H2,
        np.setdiff1d(np.arange(len(truth.labels_M)), hits_H2[:, 1]),
        np.setdiff1d(confident, hits_H2[:, 0]),
    )


def confusion_table(
    detections: Sequence[Detections],
    targets: Sequence[Boxes],
    classes: Sequence[str],
    *,
    iou: float = 0.5,
    confidence: float = 0.25,
) -> pd.DataFrame:
    """Return counts with the true class in the rows (`actual`), the class found in the columns (`predicted`).

    Hits are on the diagonal. What then is left is paired whatever its class: those are the confusions. A true box
    without a pair was taken for `background` (last column), a detection without one found it there (last row).

    Raises:
        DataError: not as many detections as images.
    """
    _require_same_length(detections, targets)
    counts = np.zeros((len(classes) + 1, len(classes) + 1), dtype=np.int64)
    for found, truth in zip(detections, targets, strict=True):
        np.add.at(counts, _actual_and_predicted(found, truth, len(classes), iou, confidence), 1)
    names = [*classes, BACKGROUND]
    return pd.DataFrame(counts, index=pd.Index(names, name="actual"), columns=pd.Index(names, name="predicted"))


def compare_detections(reference: Sequence[Detections], found: Sequence[Detections]) -> DetectionDifference:
    """Return how far `found` is from `reference`, image by image: the parity of an exported detector.

    Raises:
        DataError: not of the same number of images, or of none.
    """
    _require_same_length(found, reference)
    ious, differences, unmatched = [1.0], [0.0], 0
    for right, other in zip(reference, found, strict=True):
        pairs = match(other, Boxes(right.boxes_xyxy_M4, right.labels_M), confidence=-np.inf)
        places_other, places_right = pairs.hits_H2.T
        overlaps = _overlaps(other.boxes_xyxy_M4, right.boxes_xyxy_M4)[places_other, places_right]
        ious += overlaps.tolist()
        differences += np.abs(other.scores_M[places_other] - right.scores_M[places_right]).tolist()
        unmatched += len(pairs.misses) + len(pairs.false_alarms)
    same = [len(right.scores_M) == len(other.scores_M) for right, other in zip(reference, found, strict=True)]
    return DetectionDifference(
        num_images=len(reference),
        num_boxes=sum(len(right.scores_M) for right in reference),
        same_count=float(np.mean(same)),
        unmatched=unmatched,
        min_iou=min(ious),
        max_score_diff=max(differences),
    )


def _overlaps(first_xyxy_M4: NDArray[np.float32], second_xyxy_M4: NDArray[np.float32]) -> Overlaps:
    """Return the IoU of every first with every second box; 0 where both are empty."""
    overlaps = box_iou(torch.from_numpy(first_xyxy_M4), torch.from_numpy(second_xyxy_M4))
    return overlaps.nan_to_num_().numpy()


def _pairs(overlaps_DT: Overlaps, iou: float) -> Places:
    """Return rows (D, T): from the first row on, each takes the free column that it overlaps most."""
    free_DT = overlaps_DT.copy()
    pairs = []
    for row in range(len(free_DT) if free_DT.size else 0):
        column = int(free_DT[row].argmax())
        if free_DT[row, column] >= iou:
            pairs.append((row, column))
            free_DT[:, column] = 0
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _actual_and_predicted(
    found: Detections, truth: Boxes, num_classes: int, iou: float, confidence: float
) -> tuple[Places, Places]:
    """Return the true label and the label found of every hit, confusion, miss and false alarm of one image."""
    hits_H2, misses, alarms = match(found, truth, iou=iou, confidence=confidence)
    confused_C2 = _pairs(_overlaps(found.boxes_xyxy_M4[alarms], truth.xyxy_M4[misses]), iou)
    pairs_P2 = np.concatenate([hits_H2, np.stack([alarms[confused_C2[:, 0]], misses[confused_C2[:, 1]]], axis=1)])
    misses, alarms = np.delete(misses, confused_C2[:, 1]), np.delete(alarms, confused_C2[:, 0])
    nothing_for_misses, nothing_for_alarms = (np.full(len(left), num_classes) for left in (misses, alarms))
    return (
        np.concatenate([truth.labels_M[pairs_P2[:, 1]], truth.labels_M[misses], nothing_for_alarms]),
        np.concatenate([found.labels_M[pairs_P2[:, 0]], nothing_for_misses, found.labels_M[alarms]]),
    )


def _require_same_length(detections: Sequence[Detections], targets: Sequence[Boxes] | Sequence[Detections]) -> None:
    if len(detections) != len(targets) or not targets:
        raise DataError(
            "comparing boxes wants those of the same images, at least 1; "
            f"found {len(detections)} images on one side and {len(targets)} on the other"
        )
