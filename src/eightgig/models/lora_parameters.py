"""What the user may choose about LoRA; imports nothing heavy."""

from pydantic import Field

from eightgig.core.records import Record


class LoraParameters(Record):
    """Small matrices that are trained beside frozen weights (LoRA, arXiv 2106.09685), by the library peft.

    Attributes:
        rank: of the matrices.
        alpha: their product counts `alpha / rank` times.
        dropout: before them.
        targets: names of layers that get them; None takes all of attention and of the perceptrons.
    """

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] | None = None
