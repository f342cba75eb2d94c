"""An image as batches of tiles, strip by strip, with one batch in the network while the one before is worked on."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

import numpy as np

from eightgig.core.errors import ConfigurationError
from eightgig.tiles.grid import Grid, Span
from eightgig.tiles.records import StageTimer
from eightgig.tiles.scratch import Pixels, RowRing
from eightgig.tiles.source import RowSource

Prediction = TypeVar("Prediction")
_BYTES_AT_ONCE = 4 * 1024**2


class Batch(NamedTuple):
    """Some tiles of one strip.

    Attributes:
        row: of the grid.
        columns: of the grid, one a tile.
        images_N3HW: uint8 RGB; what lies beyond the image is mirrored.
    """

    row: int
    columns: range
    images_N3HW: Pixels


class Strips(RowRing):
    """The rows of a source that tiles still need, in a scratch file; leave it by its `with` block.

    Args:
        source: whose rows are read in order, each once.
        grid: of its size.
        folder: where the scratch file goes.
        clock: its stage `read` is measured.

    Raises:
        ConfigurationError: the grid is of another size than the source.
    """

    def __init__(self, source: RowSource, grid: Grid, folder: Path, clock: StageTimer) -> None:
        if (source.height, source.width) != (grid.height, grid.width):
            raise ConfigurationError(
                f"wanted a grid for {source.width} x {source.height} pixels, found one for {grid.width} x {grid.height}"
            )
        # While a strip's last batch is in the network, the next strip is read already.
        super().__init__(folder, 2 * grid.tile, grid.width, channels=3)
        self._source, self._grid, self._clock, self._num_read = source, grid, clock, 0

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all tiles, from left to right and top to bottom, at most `size` at once."""
        for row, span in enumerate(self._grid.rows):
            with self._clock.measure("read"):
                self._read_until(min(span.position + self._grid.tile, self._grid.height))
            for first in range(0, len(self._grid.columns), size):
                columns = range(first, min(first + size, len(self._grid.columns)))
                with self._clock.measure("read"):
                    images_NHWC = np.stack([self._tile(span, self._grid.columns[place]) for place in columns])
                    images_N3HW = np.ascontiguousarray(images_NHWC.transpose(0, 3, 1, 2))
                yield Batch(row, columns, images_N3HW)

    def _read_until(self, row: int) -> None:
        for top, bottom in row_pieces(self._num_read, row, self._grid.width):
            self.write(top, 0, self._source.read(top, bottom))
            self._num_read = bottom

    def _tile(self, row: Span, column: Span) -> Pixels:
        """Read a tile, T x T x 3; filled up at the bottom and on the right by the image, mirrored."""
        grid = self._grid
        bottom, right = min(row.position + grid.tile, grid.height), min(column.position + grid.tile, grid.width)
        inside_HWC = self.read((row.position, bottom), (column.position, right))
        missing = [(0, row.position + grid.tile - bottom), (0, column.position + grid.tile - right), (0, 0)]
        return np.pad(inside_HWC, missing, mode="reflect")

    def __enter__(self) -> Self:
        return self


def row_pieces(start: int, stop: int, width: int) -> Iterator[tuple[int, int]]:
    """Divide rows of RGB pixels into pieces of at most 4 MiB."""
    step = max(1, _BYTES_AT_ONCE // (3 * width))
    for top in range(start, stop, step):
        yield top, min(top + step, stop)


def answer_all(
    batches: Iterator[Batch],
    run: Callable[[Pixels], Prediction],
    take: Callable[[Batch, Prediction], None],
    clock: StageTimer,
) -> None:
    """Pass each batch to `take`, with what `run` says to its images, while the next is in `run` on another thread.

    Never more than two answers exist: what `take` was given is gone before the next but one is begun.
    """

    def timed(images_N3HW: Pixels) -> Prediction:
        with clock.measure("run"):
            return run(images_N3HW)

    def take_first() -> None:  # what it holds goes with it; a loop would keep an answer until it has the next
        batch, answer = waiting.popleft()
        take(batch, answer.result())

    waiting: deque[tuple[Batch, Future[Prediction]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="tiles") as pool:
        for batch in batches:
            waiting.append((batch, pool.submit(timed, batch.images_N3HW)))
            if len(waiting) == 2:
                take_first()
        while waiting:
            take_first()
