"""An image and its mask, drawn together: what is painted has the class that its pixels are given."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""Cityscapes' classes, in its order."""
LABELS = {name: label for label, name in enumerate(CLASSES)}
VOID = 255

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Canvas:
    """What a street is drawn on; lengths are in units, of which the image is `height / unit_px` high.

    Attributes:
        image_HW3: uint8 RGB.
        mask_HW: uint8, a position in `CLASSES`.
        unit_px: pixels a unit.
        rng: of everything that varies.
    """

    image_HW3: NDArray[np.uint8]
    mask_HW: NDArray[np.uint8]
    unit_px: float
    rng: np.random.Generator

    @property
    def width(self) -> float:
        """In units."""
        return self.mask_HW.shape[1] / self.unit_px

    @property
    def height(self) -> float:
        """In units."""
        return self.mask_HW.shape[0] / self.unit_px

    def between(self, low: float, high: float) -> float:
        """Return a number between two."""
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        """Say yes in this share of the cases."""
        return bool(self.rng.random() < share)

    def polygon(self, name: str, points: Points, colour: Colour) -> None:
        """Fill a polygon; edges are hard, so that image and mask have the very same pixels."""
        corners = np.round(np.asarray(points) * self.unit_px).astype(np.int32)
        cv2.fillPoly(self.image_HW3, [corners], colour)
        cv2.fillPoly(self.mask_HW, [corners], LABELS.get(name, VOID))

    def box(self, name: str, left: float, top: float, width: float, height: float, colour: Colour) -> None:
        """Fill a rectangle, at least a pixel wide and high."""
        x, y = round(left * self.unit_px), round(top * self.unit_px)
        right = max(x + 1, round((left + width) * self.unit_px))
        bottom = max(y + 1, round((top + height) * self.unit_px))
        inside = slice(max(0, y), max(0, bottom)), slice(max(0, x), max(0, right))
        self.image_HW3[inside] = colour
        self.mask_HW[inside] = LABELS.get(name, VOID)

    def oval(self, name: str, x: float, y: float, across: float, down: float, colour: Colour) -> None:
        """Fill an ellipse about (x, y) with these half axes."""
        turns = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        self.polygon(name, [(x + across * np.cos(t), y + down * np.sin(t)) for t in turns], colour)

    def line(self, name: str, points: Points, colour: Colour, thickness: float) -> None:
        """Draw a line, at least a pixel wide."""
        corners = np.round(np.asarray(points) * self.unit_px).astype(np.int32)
        thick_px = max(1, round(thickness * self.unit_px))
        cv2.polylines(self.image_HW3, [corners], False, colour, thick_px)
        cv2.polylines(self.mask_HW, [corners], False, LABELS.get(name, VOID), thick_px)

    def tinted(self, *colours: Colour, spread: int = 18) -> Colour:
        """Return one of the colours, a little changed."""
        chosen = np.array(colours[int(self.rng.integers(len(colours)))])
        red, green, blue = (chosen + self.rng.integers(-spread, spread + 1, 3)).clip(0, 255).tolist()
        return red, green, blue


def shade(colour: Colour, gain: float) -> Colour:
    """Return a colour darker (below 1) or lighter."""
    red, green, blue = (min(255, round(part * gain)) for part in colour)
    return red, green, blue
