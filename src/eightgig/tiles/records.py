"""What is found about an image that went through in tiles, and the timer of its stages; imports nothing heavy."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from eightgig.core.records import Record


class TilesReport(Record):
    """What an image in tiles was, how fast it went, and what memory it took.

    Attributes:
        source: the file's name.
        width: of the image, pixels.
        height: of the image, pixels.
        tile: side of a tile, pixels.
        overlap: that neighbouring tiles share, pixels.
        batch: tiles at once.
        num_tiles: that the network saw.
        useful_share: pixels of the image by pixels that the network saw.
        seconds: from the first row read to the last one handed over.
        megapixels_per_second: of the image.
        seconds_by_stage: read, run, blend and write; `run` goes on beside the others, so they may add up to more than
            `seconds`.
        predicted_bytes: the network's peak as planned; None where nothing was predicted.
        measured_bytes: the same as measured; None where it cannot be measured.
        device: where the network ran.
        device_name: for a person.
        found: name of each class with its share of the image's pixels, 0 to 1, or with its number of boxes.
        notes: how the file was read where that is not plain: bands left out, scaling, pages, what decoders remarked.
    """

    source: str
    width: int
    height: int
    tile: int
    overlap: int
    batch: int
    num_tiles: int
    useful_share: float
    seconds: float
    megapixels_per_second: float
    seconds_by_stage: dict[str, float]
    predicted_bytes: int | None
    measured_bytes: int | None
    device: str
    device_name: str
    found: dict[str, float]
    notes: tuple[str, ...] = ()


class StageTimer:
    """Adds up seconds by name.

    Attributes:
        seconds: by name of the stage.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("read", "run", "blend", "write"), 0.0)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add what the block takes to `stage`; one thread at a time works on a stage."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - begun
