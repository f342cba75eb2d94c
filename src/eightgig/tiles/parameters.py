"""What the user may choose about tiles; imports nothing heavy, so that Kedro reads it fast."""

from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from eightgig.core.records import Record

Band = Annotated[int, Field(ge=1)]


class TilesParameters(Record):
    """How an image of any size goes through the network.

    Attributes:
        source: an image file; None takes a sample.
        tile: side of what the network sees at once, pixels, divisible by 8; None lets the memory planner choose.
        overlap: pixels that neighbouring tiles share, divisible by 8, at most half a tile; None is twice the radius
            in which nearly all of what the network sees of a pixel's surroundings lies.
        batch: tiles at once; None lets the planner choose.
        budget_gib: memory for the network; None is that of the case's plan.
        probabilities: whether the probabilities of all classes are written too: 2 bytes a class and pixel.
        overlay_px: longest side of the overlay.
        opacity: of the classes' colours in the overlay, 0 to 1.
        max_pixels: a larger image is refused before it is read.
        bands: which bands, counted from 1, are grey (one) or red, green and blue (three), also as text: `4-3-2`, for
            Kedro's `--params` divides at commas; None takes what the file says.
        black: the number that becomes black; None takes 0 of 8 and 16 bits, and asks for it where numbers are others.
        white: the number that becomes white; None takes 255 of 8 and 65535 of 16 bits, and asks likewise.
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
    bands: tuple[Band] | tuple[Band, Band, Band] | None = None
    black: float | None = Field(default=None, allow_inf_nan=False)
    white: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _leave_more_than_overlaps(self) -> Self:
        if self.tile is not None and self.overlap is not None and 2 * self.overlap > self.tile:
            raise ValueError(
                f"overlap {self.overlap} is more than half of tile {self.tile}; lower it or take larger tiles"
            )
        return self

    @field_validator("bands", mode="before")
    @classmethod
    def _bands_as_text(cls, bands: Any) -> Any:
        if isinstance(bands, int):
            return (bands,)
        return tuple(bands.split("-")) if isinstance(bands, str) else bands

    @model_validator(mode="after")
    def _range_rises(self) -> Self:
        if (self.black is None) != (self.white is None):
            raise ValueError("black and white: wanted both or neither; give the number of each")
        if self.black is not None and self.white is not None and self.black >= self.white:
            raise ValueError(f"black {self.black:g}, white {self.white:g}: wanted the number of black below the other")
        return self

    @property
    def black_white(self) -> tuple[float, float] | None:
        """The numbers that become black and white; None where they are not chosen."""
        return None if self.black is None or self.white is None else (self.black, self.white)
