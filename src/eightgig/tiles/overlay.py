"""An image under the colours of its classes, made smaller while it goes by."""

import cv2
import numpy as np
from numpy.typing import NDArray

from eightgig.data.ingest.class_table import coloured
from eightgig.data.store.masks import VOID, Labels
from eightgig.tiles.source import Rows


class Overlay:
    """Takes rows from top to bottom; keeps the smaller image alone.

    Args:
        width: of the whole image, pixels.
        height: of the whole image, pixels.
        colours_K3: uint8, a colour a class, the last one for void.
        longest_px: the result's longer side has at most this many pixels; the image is divided by a whole number.
        opacity: of the colours, 0 to 1.
    """

    def __init__(
        self, width: int, height: int, colours_K3: NDArray[np.uint8], *, longest_px: int, opacity: float
    ) -> None:
        self._factor = -(-max(width, height) // longest_px)
        self._colours_K3, self._opacity = colours_K3, opacity
        self._rows = np.empty((0, width, 3), np.uint8)
        self._labels = np.empty((0, width), np.uint8)
        self._parts: list[Rows] = []

    def add(self, rows_RWC: Rows, labels_RW: Labels) -> None:
        """Take the next rows."""
        self._rows = np.concatenate([self._rows, rows_RWC]) if len(self._rows) else rows_RWC
        self._labels = np.concatenate([self._labels, labels_RW]) if len(self._labels) else labels_RW
        whole = len(self._rows) // self._factor * self._factor
        if whole:
            self._parts.append(self._small(self._rows[:whole], self._labels[:whole]))
            self._rows, self._labels = self._rows[whole:].copy(), self._labels[whole:].copy()

    def image(self) -> Rows:
        """Return what was made so far, uint8 RGB; rows and columns that do not fill a pixel at the end are left out."""
        parts = self._parts or [self._small(self._rows, self._labels)]
        return np.concatenate(parts)

    def _small(self, rows_RWC: Rows, labels_RW: Labels) -> Rows:
        height = max(1, rows_RWC.shape[0] // self._factor)
        width = max(1, rows_RWC.shape[1] // self._factor)
        used = rows_RWC[: height * self._factor, : width * self._factor]
        small_HWC = cv2.resize(used, (width, height), interpolation=cv2.INTER_AREA)
        half = self._factor // 2
        labels_HW = labels_RW[half :: self._factor, half :: self._factor][:height, :width]
        colours_HW3 = coloured(labels_HW, self._colours_K3)
        blended_HWC = cv2.addWeighted(small_HWC, 1 - self._opacity, colours_HW3, self._opacity, 0)
        return np.where((labels_HW == VOID)[..., None], small_HWC, blended_HWC).astype(np.uint8)
