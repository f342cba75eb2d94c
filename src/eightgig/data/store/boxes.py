"""Boxes of one image, and those of many as three flat arrays."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

CORNERS = ("x1", "y1", "x2", "y2")


class Boxes(NamedTuple):
    """The boxes of one image.

    Attributes:
        xyxy_M4: float32, M x 4: left, top, right, bottom in pixels of the upright image, continuous edges (a box
            that fills an image 640 wide and 480 high is 0, 0, 640, 480).
        labels_M: int64, M: positions in the list of classes.
    """

    xyxy_M4: npt.NDArray[np.float32]
    labels_M: npt.NDArray[np.int64]


class RaggedBoxes(NamedTuple):
    """The boxes of N images one after another: image i has boxes offsets[i] to offsets[i + 1].

    Attributes:
        offsets: int64, N + 1, from 0 to M.
        boxes: float32, M x 4, as in `Boxes`.
        labels: int64, M.
    """

    offsets: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


def ragged_boxes(manifest: pd.DataFrame, boxes: pd.DataFrame, stored_shapes_N2: npt.NDArray[np.int32]) -> RaggedBoxes:
    """Return the boxes of the manifest's rows, in their order, in pixels of the images as they are stored.

    Args:
        manifest: N images with `height` and `width`; the `index` of a box is a label of the manifest's own index.
        boxes: one row a box: `index`, `label`, `x1`, `y1`, `x2`, `y2`; those of images not in the manifest are left.
        stored_shapes_N2: height and width of each image in the store.
    """
    places = manifest.index.get_indexer(pd.Index(boxes["index"]))
    order = np.argsort(places, kind="stable")
    order = order[np.count_nonzero(places < 0) :]
    places_M = places[order]
    sizes_N2 = manifest[["height", "width"]].to_numpy(np.float64)
    scales_N2 = (stored_shapes_N2 / sizes_N2)[:, ::-1]
    edges_M4 = np.tile(stored_shapes_N2[:, ::-1], 2)[places_M]
    xyxy_M4 = boxes[list(CORNERS)].to_numpy(np.float64)[order] * np.tile(scales_N2, 2)[places_M]
    counts_N = np.bincount(places_M, minlength=len(manifest))
    return RaggedBoxes(
        offsets=np.concatenate([[0], np.cumsum(counts_N)]).astype(np.int64),
        boxes=np.clip(xyxy_M4, 0, edges_M4).astype(np.float32),
        labels=boxes["label"].to_numpy(np.int64)[order],
    )
