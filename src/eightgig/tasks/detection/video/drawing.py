"""Boxes painted on images."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

CLASS_COLOURS: tuple[Colour, ...] = (
    (76, 141, 214),
    (224, 138, 60),
    (79, 163, 107),
    (154, 120, 200),
    (63, 167, 167),
    (201, 162, 39),
    (214, 92, 92),
    (138, 147, 160),
)
"""RGB; a class has the colour of its number, beginning again where there are more classes."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE = (255, 255, 255)


def class_colours(labels_M: NDArray[np.int64], *, bgr: bool = False) -> list[Colour]:
    """Return the colour of each label."""
    colours = [CLASS_COLOURS[label % len(CLASS_COLOURS)] for label in labels_M.tolist()]
    return [(blue, green, red) for red, green, blue in colours] if bgr else colours


def draw_boxes(
    image_HWC: Pixels, boxes_xyxy_M4: NDArray[np.float32], captions: Sequence[str], colours: Sequence[Colour]
) -> None:
    """Paint boxes into the image, lines and letters as large as the image asks for; the first ones lie on top.

    Args:
        image_HWC: uint8, contiguous; changed in place.
        boxes_xyxy_M4: pixels.
        captions: one a box, white on its colour; empty for none.
        colours: one a box, in the image's order of channels.
    """
    width_px = line_width(image_HWC)
    places = np.rint(boxes_xyxy_M4).astype(int).tolist()
    for (left, top, right, bottom), caption, colour in reversed(list(zip(places, captions, colours, strict=True))):
        cv2.rectangle(image_HWC, (left, top), (right - 1, bottom - 1), colour, width_px)
        if caption:
            _write(image_HWC, caption, (left, top), colour, width_px)


def line_width(image_HWC: Pixels) -> int:
    """Return the width of a line that is well seen in an image of this size, pixels."""
    return max(1, round(sum(image_HWC.shape[:2]) / 450))


def _write(image_HWC: Pixels, caption: str, at: tuple[int, int], colour: Colour, width_px: int) -> None:
    """Write above the box, or inside where there is no room above."""
    scale, thickness = max(0.4, sum(image_HWC.shape[:2]) / 1800), max(1, width_px // 2)
    (width, height), below = cv2.getTextSize(caption, _FONT, scale, thickness)
    left = max(0, min(at[0], image_HWC.shape[1] - width))
    bottom = at[1] if at[1] >= height + below else at[1] + height + below
    cv2.rectangle(image_HWC, (left, bottom - height - below), (left + width, bottom), colour, cv2.FILLED)
    cv2.putText(image_HWC, caption, (left, bottom - below), _FONT, scale, _WHITE, thickness, cv2.LINE_AA)
