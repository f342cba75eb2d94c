"""An image of any shape on a square: whole, its aspect kept, grey beside it."""

from typing import NamedTuple

import cv2

from eightgig.data.images.decoding import Pixels

GREY = 114
"""What is beside an image on its canvas."""

AREA_FROM = 1.5
"""Shrinking by this and more averages areas; bilinear alone would leave pixels out."""


class Placement(NamedTuple):
    """Where a letterboxed image is: canvas = source * scale + (left, top)."""

    scale: float
    left: int
    top: int


def placement_of(height: int, width: int, side: int) -> Placement:
    """Return where an image of height x width lies on a square canvas: whole, as large as it can be, in the middle."""
    inner_height, inner_width = inner_size(height, width, side)
    return Placement(side / max(height, width), (side - inner_width) // 2, (side - inner_height) // 2)


def inner_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Return height and width of a letterboxed image on its square."""
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def letterbox_into(image_HWC: Pixels, out_HWC: Pixels) -> Placement:
    """Write the whole image into a square canvas, its aspect kept, grey beside it; give where it lies.

    Both are uint8, height x width x 3. Shrinking by 1.5 and more averages areas, otherwise it is bilinear.
    """
    height, width = image_HWC.shape[:2]
    placement = placement_of(height, width, len(out_HWC))
    inner_height, inner_width = inner_size(height, width, len(out_HWC))
    out_HWC[:] = GREY
    inner_HWC = out_HWC[placement.top :, placement.left :][:inner_height, :inner_width]
    rule = cv2.INTER_AREA if placement.scale * AREA_FROM <= 1 else cv2.INTER_LINEAR
    inner_HWC[:] = cv2.resize(image_HWC, (inner_width, inner_height), interpolation=rule)
    return placement
