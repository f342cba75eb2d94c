"""From decoded images with boxes to samples: letterbox, mosaic, affine, colour and flip; the boxes stay right.

Every way of placing an image is one matrix from its pixels to those of the canvas, so an image is resampled once
whatever happens to it, and its boxes go through the very same matrix.
"""

import math
import random
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from eightgig.data.images.decoding import Pixels
from eightgig.data.images.letterbox import AREA_FROM, Placement
from eightgig.data.store.boxes import Boxes
from eightgig.tasks.detection.parameters import BoxAugmentParameters

Matrix = npt.NDArray[np.float64]
_SMALLEST_SIDE_PX, _LEAST_VISIBLE, _MOST_STRETCHED = 2.0, 0.1, 100.0


def letterboxed(boxes_xyxy_M4: npt.NDArray[np.float32], placement: Placement) -> npt.NDArray[np.float32]:
    """Return boxes of an image as boxes on its canvas."""
    moved_M4 = boxes_xyxy_M4 * placement.scale + np.tile([placement.left, placement.top], 2)
    return moved_M4.astype(np.float32)


def unletterboxed(
    boxes_xyxy_M4: npt.NDArray[np.float32], placement: Placement, height: int, width: int
) -> npt.NDArray[np.float32]:
    """Return boxes on a canvas as boxes of the image of height x width, clipped to it."""
    moved_M4 = (boxes_xyxy_M4 - np.tile([placement.left, placement.top], 2)) / placement.scale
    return np.clip(moved_M4, 0, [width, height, width, height]).astype(np.float32)


def random_affine(augment: BoxAugmentParameters, rng: random.Random, *, middle: float, side: int) -> Matrix:
    """Return a 3 x 3 matrix: turned, scaled and sheared about (middle, middle), which comes near the canvas' middle."""
    angle = math.radians(rng.uniform(-augment.degrees, augment.degrees))
    scale = rng.uniform(1 - augment.scale, 1 + augment.scale)
    shear_x, shear_y = (math.tan(math.radians(rng.uniform(-augment.shear, augment.shear))) for _ in range(2))
    turned = scale * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    linear = np.array([[1, shear_x], [shear_y, 1]]) @ turned
    goal = [side * (0.5 + rng.uniform(-augment.translate, augment.translate)) for _ in range(2)]
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, goal - linear @ [middle, middle]
    return matrix


def mosaic_places(sizes: Sequence[tuple[int, int]], side: int, rng: random.Random) -> list[Matrix]:
    """Return where four images (height, width) lie on a canvas of 2 side x 2 side: corner to corner at a random point.

    Each is as large as fits a square of `side`. Matrices are 3 x 3.
    """
    centre_x, centre_y = (rng.uniform(0.5 * side, 1.5 * side) for _ in range(2))
    matrices = []
    for position, (height, width) in enumerate(sizes):
        scale = side / max(height, width)
        left = centre_x - width * scale if position % 2 == 0 else centre_x
        top = centre_y - height * scale if position < 2 else centre_y
        matrices.append(np.array([[scale, 0, left], [0, scale, top], [0, 0, 1.0]]))
    return matrices


def place_into(image_HWC: Pixels, boxes: Boxes, matrix: Matrix, out_HWC: Pixels) -> Boxes:
    """Draw the image on the canvas where `matrix` (3 x 3) puts it, over what is there; give its boxes there.

    A box is kept where at least a tenth of it is on the canvas, each side is longer than 2 pixels, and no side is 100
    times the other.
    """
    warp_into(image_HWC, matrix, out_HWC)
    height, width = out_HWC.shape[:2]
    corners_M42 = boxes.xyxy_M4[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    moved_M42 = corners_M42 @ matrix[:2, :2].T + matrix[:2, 2]
    whole_M4 = np.concatenate([moved_M42.min(1), moved_M42.max(1)], 1)
    seen_M4 = np.clip(whole_M4, 0, [width, height, width, height])
    keep_M = _worth_keeping(whole_M4, seen_M4)
    return Boxes(seen_M4[keep_M].astype(np.float32), boxes.labels_M[keep_M])


def warp_into(image_HWC: Pixels, matrix: Matrix, out_HWC: Pixels) -> None:
    """Resample the image into the canvas by `matrix`; what it does not cover stays as it is."""
    scale = math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    if scale * AREA_FROM <= 1:  # bilinear alone would leave pixels out
        height, width = image_HWC.shape[:2]
        smaller = max(1, round(width * scale)), max(1, round(height * scale))
        image_HWC = np.asarray(cv2.resize(image_HWC, smaller, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        matrix = matrix @ np.diag([width / smaller[0], height / smaller[1], 1.0])
    # OpenCV counts from the middle of pixels, boxes from their edges.
    middles = (
        np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]]) @ matrix @ np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    )
    cv2.warpAffine(
        image_HWC,
        middles[:2],
        out_HWC.shape[1::-1],
        dst=out_HWC,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )


def flip(image_HWC: Pixels, boxes: Boxes) -> Boxes:
    """Mirror the image left to right in place; give its boxes."""
    cv2.flip(image_HWC, 1, dst=image_HWC)
    mirrored_M4 = boxes.xyxy_M4.copy()
    mirrored_M4[:, [0, 2]] = image_HWC.shape[1] - boxes.xyxy_M4[:, [2, 0]]
    return Boxes(mirrored_M4, boxes.labels_M)


def hsv_jitter(image_HWC: Pixels, augment: BoxAugmentParameters, rng: random.Random) -> None:
    """Vary hue, saturation and value of an RGB image in place, each by one factor."""
    strengths = (augment.hue, augment.saturation, augment.value)
    hue, saturation, value = (1 + strength * rng.uniform(-1, 1) for strength in strengths)
    levels = np.arange(256, dtype=np.float64)
    tables = [levels * hue % 180, np.clip(levels * saturation, 0, 255), np.clip(levels * value, 0, 255)]
    hsv_HWC = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2HSV)
    hsv_HWC = cv2.LUT(hsv_HWC, np.stack(tables, 1).astype(np.uint8)[None])
    cv2.cvtColor(hsv_HWC, cv2.COLOR_HSV2RGB, dst=image_HWC)


def joined(parts: Sequence[Boxes]) -> Boxes:
    """Return the boxes of several images on one canvas as one."""
    return Boxes(np.concatenate([part.xyxy_M4 for part in parts]), np.concatenate([part.labels_M for part in parts]))


def _worth_keeping(whole_M4: npt.NDArray[Any], seen_M4: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    whole_M2, seen_M2 = (boxes_M4[:, 2:] - boxes_M4[:, :2] for boxes_M4 in (whole_M4, seen_M4))
    visible_M = seen_M2.prod(1) / np.maximum(whole_M2.prod(1), 1e-9)
    stretched_M = seen_M2.max(1, initial=0) / np.maximum(seen_M2.min(1, initial=np.inf), 1e-9)
    large_enough_M = (seen_M2 > _SMALLEST_SIDE_PX).all(1)
    keep_M: npt.NDArray[np.bool_] = large_enough_M & (visible_M >= _LEAST_VISIBLE) & (stretched_M < _MOST_STRETCHED)
    return keep_M
