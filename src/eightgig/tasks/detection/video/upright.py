"""Frames as a player shows them: turned and mirrored as the container says, and always in the memory that is given."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from eightgig.tasks.detection.video.frames import Frame

# A matrix of the container has 16 bits behind its point. What it turns by less than this, 1.1 degrees, is right-angled.
_ALMOST = 0.02


class Orientation(NamedTuple):
    """How stored pixels become upright: exchanged axes first, then mirrored.

    Attributes:
        swaps: whether rows become columns.
        flips_x: whether left and right change places after that.
        flips_y: whether top and bottom do.
        is_exact: False where the container asks for another angle than a right one; this is the nearest.
    """

    swaps: bool = False
    flips_x: bool = False
    flips_y: bool = False
    is_exact: bool = True


UPRIGHT = Orientation()


def orientation_of(matrix_9: NDArray[np.int32]) -> Orientation:
    """Return the orientation that a display matrix asks for.

    Args:
        matrix_9: a, b, u, c, d, v, x, y, w as MP4 defines them: x' = ax + cy, y' = bx + dy.
    """
    a, b, _, c, d, *_ = (float(value) for value in matrix_9)
    largest = max(map(abs, (a, b, c, d)))
    if not largest:  # it would show nothing
        return UPRIGHT
    swaps = abs(b) + abs(c) > abs(a) + abs(d)
    (from_x, from_y), rest = ((c, b), (a, d)) if swaps else ((a, d), (b, c))
    return Orientation(swaps, from_x < 0, from_y < 0, max(map(abs, rest)) <= _ALMOST * largest)


def upright_size(width: int, height: int, orientation: Orientation) -> tuple[int, int]:
    """Return width and height of the upright frame."""
    return (height, width) if orientation.swaps else (width, height)


def write_upright(stored_HWC: Frame, orientation: Orientation, frame_HWC: Frame) -> None:
    """Write a stored frame upright into `frame_HWC`."""
    turned_HWC = cv2.transpose(stored_HWC) if orientation.swaps else stored_HWC
    if orientation.flips_x or orientation.flips_y:
        axis = 1 - orientation.flips_y - orientation.flips_x * orientation.flips_y  # OpenCV's 1, 0 and -1 for both
        fits = turned_HWC.shape == frame_HWC.shape
        turned_HWC = cv2.flip(turned_HWC, axis, frame_HWC) if fits else cv2.flip(turned_HWC, axis)
    fill(frame_HWC, np.asarray(turned_HWC, np.uint8))


def fill(frame_HWC: Frame, found_HWC: Frame) -> None:
    """Have what was found in `frame_HWC`: libraries may or may not have used the memory that they were given.

    A frame of another size is scaled to fit, its proportions kept, black beside it.
    """
    if found_HWC.shape != frame_HWC.shape:
        _fit(frame_HWC, found_HWC)
    elif not np.may_share_memory(found_HWC, frame_HWC):
        frame_HWC[:] = found_HWC


def _fit(frame_HWC: Frame, found_HWC: Frame) -> None:
    height, width = frame_HWC.shape[:2]
    scale = min(height / found_HWC.shape[0], width / found_HWC.shape[1])
    inner_height, inner_width = (max(1, round(side * scale)) for side in found_HWC.shape[:2])
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    rule = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    frame_HWC[:] = 0
    inner_HWC = cv2.resize(found_HWC, (inner_width, inner_height), interpolation=rule)
    frame_HWC[top : top + inner_height, left : left + inner_width] = inner_HWC
