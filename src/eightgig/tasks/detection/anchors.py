"""Anchors that fit the boxes of a data set, where those of COCO do not."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2  # type: ignore[import-untyped, unused-ignore]

from eightgig.core.records import Record
from eightgig.tasks.detection.model import COCO_ANCHORS, IMAGE_SIZE

Sides = npt.NDArray[np.floating[Any]]

_ENOUGH_RECALL, _MOST_BOXES, _GENERATIONS = 0.98, 5_000, 300


class AnchorFit(Record):
    """The anchors to train with.

    Attributes:
        anchors: (width, height) in pixels, smallest area first.
        recall_before: share of the boxes that an anchor of COCO's is near enough to, 0 to 1.
        recall_after: the same of `anchors`.
        changed: whether `anchors` are others than COCO's.
        num_boxes: that they were judged by.
    """

    anchors: tuple[tuple[float, float], ...]
    recall_before: float
    recall_after: float
    changed: bool
    num_boxes: int

    def by_level(self, num_levels: int = 3) -> tuple[tuple[tuple[float, float], ...], ...]:
        """Return the anchors of each level, the finest first, as `build_yolov5` takes them."""
        num_anchors = len(self.anchors) // num_levels
        return tuple(self.anchors[i * num_anchors : (i + 1) * num_anchors] for i in range(num_levels))


def fit_anchors(
    boxes_wh_M2: Sides, *, image_size: int, num_anchors: int = 9, threshold: float = 4.0, seed: int = 0
) -> AnchorFit:
    """Return COCO's nine anchors where they fit 98 % of the boxes, and otherwise better ones; the same for a seed.

    An anchor fits a box when neither side is more than `threshold` times the other's: only then does training match
    them. Better ones are the centres of clusters of the logarithms of the sides, then shaken at random for as long as
    that brings them nearer. With fewer boxes than anchors, COCO's are scaled to the image size.

    Args:
        boxes_wh_M2: width and height of training boxes in pixels of the network's input; those without area are left
            out.
        image_size: of the network's input, pixels.
        num_anchors: of all levels together.
        threshold: above 1.
        seed: of the clustering and the shaking.
    """
    coco: Sides = np.array(COCO_ANCHORS).reshape(-1, 2)
    sides_M2: Sides = np.asarray(boxes_wh_M2, dtype=np.float64).reshape(-1, 2)
    sides_M2 = sides_M2[((sides_M2 > 0) & np.isfinite(sides_M2)).all(1)]
    before = recall_of(coco, sides_M2, threshold=threshold)
    if len(sides_M2) < num_anchors:
        found = _ordered(coco * image_size / IMAGE_SIZE)
    elif before >= _ENOUGH_RECALL:
        found = coco
    else:
        found = _ordered(_fitted(sides_M2, num_anchors, threshold, np.random.default_rng(seed)))
    after = recall_of(found, sides_M2, threshold=threshold)
    return AnchorFit(
        anchors=tuple((float(width), float(height)) for width, height in found),
        recall_before=before,
        recall_after=after,
        changed=found is not coco,
        num_boxes=len(sides_M2),
    )


def recall_of(anchors_A2: Sides, boxes_wh_M2: Sides, *, threshold: float = 4.0) -> float:
    """Return the share of boxes that some anchor fits, 0 to 1; 0 without boxes."""
    if len(boxes_wh_M2) == 0:
        return 0.0
    return float((_nearness(anchors_A2, boxes_wh_M2) > 1 / threshold).mean())


def _nearness(anchors_A2: Sides, sides_M2: Sides) -> npt.NDArray[np.float64]:
    """Give, of each box's best anchor, how much smaller the smaller side is in the worse direction: 1 is the same."""
    ratio_MA2 = sides_M2[:, None] / anchors_A2[None]
    nearness_M: npt.NDArray[np.float64] = np.minimum(ratio_MA2, 1 / ratio_MA2).min(2).max(1)
    return nearness_M


def _ordered(anchors_A2: Sides) -> Sides:
    return anchors_A2[np.argsort(anchors_A2.prod(1), kind="stable")].round(1).clip(min=0.1)


def _fitted(sides_M2: Sides, num_anchors: int, threshold: float, rng: np.random.Generator) -> Sides:
    if len(sides_M2) > _MOST_BOXES:
        sides_M2 = rng.choice(sides_M2, _MOST_BOXES, replace=False)
    # Boxes of the very same size would make fewer clusters than are wanted.
    logarithms_M2 = np.log(sides_M2) + rng.normal(0, 1e-3, sides_M2.shape)
    centres_A2, _ = kmeans2(logarithms_M2, num_anchors, minit="++", seed=rng)
    return _shaken(np.exp(centres_A2), sides_M2, threshold, rng)


def _shaken(anchors_A2: Sides, sides_M2: Sides, threshold: float, rng: np.random.Generator) -> Sides:
    best = _fitness(anchors_A2, sides_M2, threshold)
    for _ in range(_GENERATIONS):
        changed = rng.random(anchors_A2.shape) < 0.5
        child_A2 = anchors_A2 * np.exp(changed * rng.normal(0, 0.1, anchors_A2.shape))
        fitness = _fitness(child_A2, sides_M2, threshold)
        if fitness > best:
            anchors_A2, best = child_A2, fitness
    return anchors_A2


def _fitness(anchors_A2: Sides, sides_M2: Sides, threshold: float) -> float:
    nearness_M = _nearness(anchors_A2, sides_M2)
    return float((nearness_M * (nearness_M > 1 / threshold)).mean())
