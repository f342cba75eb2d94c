"""An image with its mirror image around it, so that a network sees no border where the image ends."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from eightgig.data.store.masks import Labels
from eightgig.tiles.source import Rows, RowSource


class MirroredSource:
    """A source that is larger by `margin` pixels on each side; there it is mirrored, the outermost row not repeated.

    Args:
        source: of the image.
        margin: pixels on each side; an image smaller than that is mirrored again and again.
    """

    def __init__(self, source: RowSource, margin: int) -> None:
        self.width, self.height = source.width + 2 * margin, source.height + 2 * margin
        self.notes = source.notes
        self._source, self._margin = source, margin
        self._places = _mirrored(source.height, margin)
        self._columns = _mirrored(source.width, margin)
        self._kept: dict[int, Rows] = {}
        self._num_read = 0

    def read(self, top: int, bottom: int) -> Rows:
        """Return the rows from `top` to before `bottom`."""
        wanted = self._places[top:bottom]
        self._read_until(int(wanted.max()) + 1)
        rows_RWC = np.stack([self._kept[int(place)] for place in wanted])[:, self._columns]
        # Later rows are further down, or, behind the end, up to a margin further up.
        reach = min(int(self._places[bottom:].min(initial=self._source.height)), self._num_read)
        self._kept = {place: row for place, row in self._kept.items() if place >= reach}
        return rows_RWC

    def _read_until(self, row: int) -> None:
        if row > self._num_read:
            rows = self._source.read(self._num_read, row)
            self._kept.update({self._num_read + place: np.array(values) for place, values in enumerate(rows)})
            self._num_read = row


class InnerRows:
    """Takes the rows of a mirrored image and hands on those of the image itself, without the margins.

    Args:
        height: of the image itself, pixels.
        width: likewise.
        margin: pixels on each side.
        on_rows: is given rows_RWC and labels_RW, from top to bottom.
        num_classes: K.

    Attributes:
        pixels_K: int64, how many pixels of each class were handed on.
    """

    def __init__(
        self, height: int, width: int, margin: int, on_rows: Callable[[Rows, Labels], None], *, num_classes: int
    ) -> None:
        self._height, self._width, self._margin, self._on_rows = height, width, margin, on_rows
        self.pixels_K = np.zeros(num_classes, dtype=np.int64)

    def take(self, top: int, rows_RWC: Rows, labels_RW: Labels) -> None:
        """Take finished rows, as `blend_masks` gives them."""
        first, last = (min(max(row - self._margin, 0), self._height) for row in (top, top + len(labels_RW)))
        if first == last:
            return
        inside = (
            slice(first + self._margin - top, last + self._margin - top),
            slice(self._margin, self._margin + self._width),
        )
        self.pixels_K += np.bincount(labels_RW[inside].ravel(), minlength=len(self.pixels_K))
        self._on_rows(rows_RWC[inside], labels_RW[inside])

    def piece(self, write: Callable[[int, int, NDArray[np.float32]], None]) -> Callable[..., None]:
        """Return what takes probabilities of the mirrored image, and writes those of the image itself."""

        def take(top: int, left: int, piece_KRC: NDArray[np.float32]) -> None:
            rows = [min(max(row - self._margin, 0), self._height) for row in (top, top + piece_KRC.shape[1])]
            columns = [min(max(place - self._margin, 0), self._width) for place in (left, left + piece_KRC.shape[2])]
            if rows[0] < rows[1] and columns[0] < columns[1]:
                down = slice(rows[0] + self._margin - top, rows[1] + self._margin - top)
                across = slice(columns[0] + self._margin - left, columns[1] + self._margin - left)
                write(rows[0], columns[0], piece_KRC[:, down, across])

        return take


def _mirrored(length: int, margin: int) -> NDArray[np.int64]:
    """Return the place in the image of each place of the mirrored image."""
    return np.pad(np.arange(length), margin, mode="reflect")
