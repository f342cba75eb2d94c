"""Batches in pieces that fit."""

from collections.abc import Iterable, Iterator

from eightgig.training.objective import Batch


class BatchSplitter:
    """Cuts batches along their first axis to a size that fits.

    Attributes:
        limit: most samples a piece; None leaves batches as they are loaded.
        largest: most samples that a piece of the last run had.
    """

    def __init__(self) -> None:
        self.limit: int | None = None
        self.largest = 0

    def __call__(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Begin a run; give the batches, or what they are cut into."""
        self.begin()
        for batch in batches:
            yield from self.of(batch)

    def begin(self) -> None:
        """Begin a run."""
        self.largest = 0

    def of(self, batch: Batch) -> Iterator[Batch]:
        """Yield one batch of the run, or what it is cut into."""
        for piece in cut(batch, self.limit):
            self.largest = max(self.largest, rows_of(piece))
            yield piece


def cut(batch: Batch, size: int | None) -> Iterator[Batch]:
    """Yield the batch in pieces of `size` samples along the first axis of each value; the last may have fewer."""
    rows = rows_of(batch)
    if size is None or rows <= size:
        yield batch
        return
    for begin in range(0, rows, size):
        yield {name: values[begin : begin + size] for name, values in batch.items()}


def rows_of(batch: Batch) -> int:
    """Return the number of samples of a batch."""
    return len(next(iter(batch.values())))
