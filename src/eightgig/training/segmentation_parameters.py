"""What may be asked of a segmenter's training; imports no torch, so that Kedro reads it fast."""

from typing import Literal, Self

from pydantic import Field, model_validator

from eightgig.core.records import Record
from eightgig.data.parameters import AugmentParameters
from eightgig.training.parameters import TrainParameters

_STRIDE = 32


class SegmentationLossParameters(Record):
    """How the loss of a class for each pixel is put together.

    Attributes:
        cross_entropy: weight of the cross-entropy.
        dice: weight of 1 - Dice, the mean over the classes that a picture holds.
        class_weights: `none`, or `median_frequency`: a class weighs the median frequency of all over its own.
        most_weight: no class weighs more.
    """

    cross_entropy: float = Field(default=1.0, gt=0)
    dice: float = Field(default=0.0, ge=0)
    class_weights: Literal["none", "median_frequency"] = "none"
    most_weight: float = Field(default=10.0, ge=1)


class ResizeStep(Record):
    """One step of progressive resizing.

    Attributes:
        until: share of all epochs at whose end the step ends.
        size: share of the network's image size that samples have meanwhile.
    """

    until: float = Field(gt=0, lt=1)
    size: float = Field(gt=0, lt=1)


class SegmenterTrainParameters(TrainParameters):
    """The recipe of a segmenter.

    Attributes:
        augment: how training pictures vary, and their masks with them.
        loss: how it is put together.
        progressive: low resolution first (article 3.1.2): steps in rising order of `until`; afterwards samples have
            the full size, which the memory plan counts. Empty trains at the full size all along.
    """

    augment: AugmentParameters = AugmentParameters(crop_scale=(0.25, 1.0))
    loss: SegmentationLossParameters = SegmentationLossParameters()
    progressive: tuple[ResizeStep, ...] = ()

    @model_validator(mode="after")
    def _steps_rise(self) -> Self:
        ends = [step.until for step in self.progressive]
        if ends != sorted(set(ends)):
            raise ValueError(f"progressive: wanted steps in rising order of `until`, found {ends}")
        return self


class ProgressiveSize:
    """The side of the training samples in each epoch, from 1 on, in pixels: a multiple of 32, at least 32.

    Args:
        image_size: the full side, pixels.
        steps: low resolution first.
        num_epochs: of the whole training.
    """

    def __init__(self, image_size: int, steps: tuple[ResizeStep, ...], num_epochs: int) -> None:
        self._image_size, self._steps, self._num_epochs = image_size, steps, num_epochs

    def __call__(self, epoch: int) -> int:
        """Give the side in `epoch`."""
        for step in self._steps:
            if epoch <= step.until * self._num_epochs:
                return max(_STRIDE, round(step.size * self._image_size / _STRIDE) * _STRIDE)
        return self._image_size
