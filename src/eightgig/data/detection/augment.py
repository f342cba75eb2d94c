"""How training pictures with boxes vary; imports nothing heavy, so that Kedro reads it fast."""

from typing import Annotated

from pydantic import Field

from eightgig.core.records import Record

Share = Annotated[float, Field(ge=0, le=1)]
Angle = Annotated[float, Field(ge=0, lt=90)]


class BoxAugmentParameters(Record):
    """How a training sample is made; the defaults are those published for training YOLOv5 from scratch.

    Attributes:
        mosaic: probability that a sample is put together of four pictures.
        close_mosaic: the last so many epochs show single pictures only.
        degrees: rotations are drawn from +-this.
        translate: shifts, as a share of the side, from +-this.
        scale: magnifications from 1 - this to 1 + this.
        shear: degrees, from +-this.
        flip: probability of a left-right flip.
        hue: factors from 1 - this to 1 + this; `saturation` and `value` likewise.
    """

    mosaic: Share = 1.0
    close_mosaic: int = Field(default=0, ge=0)
    degrees: float = Field(default=0.0, ge=0, le=180)
    translate: Share = 0.1
    scale: float = Field(default=0.5, ge=0, lt=1)
    shear: Angle = 0.0
    flip: Share = 0.5
    hue: Share = 0.015
    saturation: Share = 0.7
    value: Share = 0.4
