"""What may be asked of a detector's loss; imports no torch, so that Kedro reads it fast."""

from pydantic import Field

from eightgig.core.records import Record


class DetectionLossParameters(Record):
    """How the parts of the loss are weighed; the defaults are those published for YOLOv5 on COCO.

    Attributes:
        box: of 1 - CIoU.
        objectness: at 640 pixels; it grows with the area of the network's input.
        classes: with 80 classes; it grows with their number.
        anchor_ratio: a box is learnt by anchors whose sides are at most this many times longer or shorter.
        level_weights: of the objectness of the levels, the finest first.
    """

    box: float = Field(default=0.05, ge=0)
    objectness: float = Field(default=1.0, ge=0)
    classes: float = Field(default=0.5, ge=0)
    anchor_ratio: float = Field(default=4.0, gt=1)
    level_weights: tuple[float, float, float] = (4.0, 1.0, 0.4)
