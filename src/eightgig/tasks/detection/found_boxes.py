"""Boxes of a store and of its batches, as the stages want them."""

from typing import Any

from eightgig.stages.annotations import ImageStore


def box_sides(store: ImageStore, indices: list[int], *, image_size: int) -> Any:
    """Return width and height of all boxes of the images, float64 M x 2, in pixels of the network's canvas."""
    import numpy as np

    sides = [np.empty((0, 2))]
    for index in indices:
        boxes_xyxy_M4 = store.boxes(index).xyxy_M4
        scale = image_size / max(store.shapes[index])
        sides.append((boxes_xyxy_M4[:, 2:] - boxes_xyxy_M4[:, :2]) * scale)
    return np.concatenate(sides)


def boxes_in(batch: Any) -> list[Any]:
    """Return each image's `Boxes` in pixels of the canvas, without the padding."""
    from eightgig.data.store.boxes import Boxes

    pairs = zip(batch["boxes"].numpy(), batch["box_labels"].numpy(), strict=True)
    return [Boxes(boxes_M4[labels_M >= 0], labels_M[labels_M >= 0]) for boxes_M4, labels_M in pairs]
