"""What may be asked of the detector's data, augmentation and loss; imports nothing heavy."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from eightgig.core.records import Record
from eightgig.data.images.parameters import ImageParameters
from eightgig.training.parameters import TrainParameters

Share = Annotated[float, Field(ge=0, le=1)]
Angle = Annotated[float, Field(ge=0, lt=90)]


class BoxAugmentParameters(Record):
    """How a training sample is made; the defaults are those published for training YOLOv5 from scratch.

    Attributes:
        mosaic: probability that a sample is put together of four images.
        close_mosaic: the last so many epochs show single images only.
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


class DetectionDataParameters(ImageParameters):
    """Where images with boxes come from, which are refused, how they are split and stored.

    The fractions hold where the set has no split of its own. See `ImageParameters` for the others.

    Attributes:
        source: `rendered` (drawn by code), `yolo`, `voc` or `coco` (the format of what lies under `root`), or `auto`
            (found out); with a root, `rendered` becomes `auto`.
        annotations: the file or folder of the labels where it is not found by itself, relative to `root` or absolute:
            YOLO's data.yaml, the folder of VOC's XML files, a COCO JSON file.
        label_lines: what the lines of YOLO's labels are: `boxes`, `polygons`, `oriented` (boxes with four corners) or
            `keypoints`; None leaves it to data.yaml, and refuses lines that could be polygons or keypoints.
        min_box_side: a box with a shorter side, in pixels, is left out.
        max_background_fraction: the run fails when this share of the images, or more, would be taken as background:
            mostly their labels were not found.
    """

    source: Literal["rendered", "yolo", "voc", "coco", "auto"] = "rendered"
    annotations: str | None = None
    label_lines: Literal["boxes", "polygons", "oriented", "keypoints"] | None = None
    min_box_side: float = Field(default=2.0, ge=1.0)
    max_background_fraction: float = Field(default=0.5, gt=0.0, le=1.0)

    @model_validator(mode="before")
    @classmethod
    def _root_means_auto(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("root") and values.get("source", "rendered") == "rendered":
            return {**values, "source": "auto"}
        return values

    @model_validator(mode="after")
    def _files_have_a_root(self) -> Self:
        if self.root:
            return self
        if self.source != "rendered":
            raise ValueError(
                f"source '{self.source}' needs a root. Set data.root to the folder of the images, "
                "or data.source to 'rendered'."
            )
        if self.annotations:
            raise ValueError("annotations need a root. Set data.root to the folder of the images.")
        return self


class DetectorTrainParameters(TrainParameters):
    """The recipe of the detector.

    Attributes:
        autoanchor: whether anchors are fitted to the training boxes where COCO's do not fit them.
        augment: how training images vary.
        loss: weights of the loss's parts.
    """

    autoanchor: bool = True
    augment: BoxAugmentParameters = BoxAugmentParameters()
    loss: DetectionLossParameters = DetectionLossParameters()
