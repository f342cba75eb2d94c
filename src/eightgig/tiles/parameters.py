"""What the user may choose about tiles; imports nothing heavy, so that Kedro reads it fast."""

from typing import Self

from pydantic import Field, model_validator

from eightgig.core.records import Record


class TilesParameters(Record):
    """How a picture of any size goes through the network.

    Attributes:
        source: a picture file; None takes a sample.
        tile: side of what the network sees at once, pixels, divisible by 8; None lets the memory planner choose.
        overlap: pixels that neighbouring tiles share, divisible by 8, at most half a tile; None is twice the radius
            in which nearly all of what the network sees of a pixel's surroundings lies.
        batch: tiles at once; None lets the planner choose.
        budget_gib: memory for the network; None is that of the case's plan.
        probabilities: whether the probabilities of all classes are written too: 2 bytes a class and pixel.
        overlay_px: longest side of the overlay.
        opacity: of the classes' colours in the overlay, 0 to 1.
        max_pixels: a larger picture is refused before it is read.
    """

    source: str | None = None
    tile: int | None = Field(default=None, ge=16, multiple_of=8)
    overlap: int | None = Field(default=None, ge=8, multiple_of=8)
    batch: int | None = Field(default=None, ge=1)
    budget_gib: float | None = Field(default=None, gt=0)
    probabilities: bool = False
    overlay_px: int = Field(default=4096, ge=16)
    opacity: float = Field(default=0.5, ge=0, le=1)
    max_pixels: int = Field(default=4_000_000_000, ge=1)

    @model_validator(mode="after")
    def _leave_more_than_overlaps(self) -> Self:
        if self.tile is not None and self.overlap is not None and 2 * self.overlap > self.tile:
            raise ValueError(
                f"overlap {self.overlap} is more than half of tile {self.tile}; lower it or take larger tiles"
            )
        return self
