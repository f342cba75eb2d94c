"""Where the tiles lie, and how much each of them counts at each pixel.

Along one axis, with tile T, overlap V and an image of length L, for example T 32, V 8, L 69:

    tile 0   |--------------------------------|                                              gives  0 to 32
    tile 1                           |--------------------------------|                      gives 24 to 56
    tile 2                                          |................--------------------|   at 40, gives 48 to 69

Tiles follow each other every T - V pixels; the last one lies so that it ends where the image ends, but at a multiple
of 8, so it may stick out by up to 7 pixels. All positions are multiples of 8, so that a network that halves its input
three times sees the same grid of pixels in every tile. Where a tile sticks out, or the image is smaller than a tile,
the image is mirrored.

At any pixel at most two tiles of an axis count, and their weights add up to 1. The last tile counts only from V pixels
before the end of the one before it, as all others do.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eightgig.core.errors import ConfigurationError

STEP = 8
"""All positions, tiles and overlaps are multiples of it, pixels."""


class Span(NamedTuple):
    """Where one tile lies along one axis, in pixels of the image.

    Attributes:
        position: where the tile begins, a multiple of 8.
        start: where it begins to count.
        stop: where it ends to count, within the image.
    """

    position: int
    start: int
    stop: int

    @property
    def local(self) -> slice:
        """The part of the tile that counts."""
        return slice(self.start - self.position, self.stop - self.position)


@dataclass(frozen=True)
class Grid:
    """The tiles of one image.

    Attributes:
        height: of the image, pixels.
        width: of the image, pixels.
        tile: side of a tile, pixels.
        overlap: that neighbours share, pixels.

    Raises:
        ConfigurationError: a tile or overlap that is not divisible by 8, or an overlap of more than half a tile.
    """

    height: int
    width: int
    tile: int
    overlap: int

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise ConfigurationError(f"wanted an image of at least 1 x 1 pixels, found {self.width} x {self.height}")
        if self.tile % STEP or self.overlap % STEP or not STEP <= self.overlap <= self.tile // 2:
            raise ConfigurationError(
                f"tile {self.tile}, overlap {self.overlap}: wanted both divisible by {STEP}, and an overlap of {STEP} "
                "to half a tile; take for example tile 512, overlap 64"
            )

    @property
    def stride(self) -> int:
        """From one tile to the next, pixels."""
        return self.tile - self.overlap

    @cached_property
    def rows(self) -> tuple[Span, ...]:
        """The tiles from top to bottom."""
        return self._spans(self.height)

    @cached_property
    def columns(self) -> tuple[Span, ...]:
        """The tiles from left to right."""
        return self._spans(self.width)

    @property
    def num_tiles(self) -> int:
        """How many there are."""
        return len(self.rows) * len(self.columns)

    @property
    def useful_share(self) -> float:
        """Pixels of the image by pixels of all tiles, 0 to 1."""
        return self.height * self.width / (self.num_tiles * self.tile**2)

    def weights(self, spans: tuple[Span, ...], place: int) -> npt.NDArray[np.float32]:
        """Return how much tile `place` of `rows` or `columns` counts, float32, one a pixel from `start` to `stop`.

        They rise from 0 to 1 over the overlap with the tile before, fall likewise towards the next, and are 1
        elsewhere, at the image's border too; those of all tiles add up to 1 at each pixel.
        """
        span = spans[place]
        weights = np.ones(span.stop - span.start, dtype=np.float32)
        if place > 0:
            weights[: self.overlap] = rising(self.overlap)
        if place < len(spans) - 1:
            weights[-self.overlap :] = rising(self.overlap)[::-1]
        return weights

    def _spans(self, length: int) -> tuple[Span, ...]:
        count = 1 + max(0, -(-(length - self.tile) // self.stride))
        last = max(0, -(-(length - self.tile) // STEP) * STEP)
        starts = [place * self.stride for place in range(count)]
        return tuple(Span(min(start, last), start, min(start + self.tile, length)) for start in starts)


def rising(overlap: int) -> npt.NDArray[np.float32]:
    """Return weights that rise by a cosine from 0 to 1 over the middle half of an overlap.

    With their reverse they add up to 1. The quarter next to a tile's edge does not count: there the network saw the
    zeros that it puts around what it is given.
    """
    share = ((np.arange(overlap) + 0.5) / overlap * 2 - 0.5).clip(0, 1)
    return (0.5 - 0.5 * np.cos(np.pi * share)).astype(np.float32)
