"""What may be asked of the segmenter's data, augmentation and loss; imports nothing heavy."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from eightgig.core.records import Record
from eightgig.data.images.parameters import AugmentParameters, ImageParameters
from eightgig.training.parameters import TrainParameters


class SegmentationDataParameters(ImageParameters):
    """Where images with masks come from, which are refused, how they are split and stored.

    The fractions hold where the set has no split of its own. See `ImageParameters` for the others.

    Attributes:
        source: `rendered` (drawn by code), `cityscapes` (leftImg8bit and gtFine below `root`), `folders` (a folder of
            images and one of masks), or `auto` (found out); with a root, `rendered` becomes `auto`.
        class_table: `cityscapes`, `camvid`, `voc`, or a file that names the classes and their labels or colours (see
            docs/cases/semantic_segmenter.md); None takes the one below `root`.
    """

    source: Literal["rendered", "cityscapes", "folders", "auto"] = "rendered"
    class_table: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _root_means_auto(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("root") and values.get("source", "rendered") == "rendered":
            return {**values, "source": "auto"}
        return values

    @model_validator(mode="after")
    def _files_have_a_root(self) -> Self:
        if self.source != "rendered" and not self.root:
            raise ValueError(
                f"source '{self.source}' needs a root. Set data.root to the folder of the images, "
                "or data.source to 'rendered'."
            )
        return self


_STRIDE = 32


class SegmentationLossParameters(Record):
    """How the loss of a class for each pixel is put together.

    Attributes:
        cross_entropy: weight of the cross-entropy.
        dice: weight of 1 - Dice, the mean over the classes that an image holds.
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
        augment: how training images vary, and their masks with them.
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
        """Return the side in `epoch`."""
        for step in self._steps:
            if epoch <= step.until * self._num_epochs:
                return max(_STRIDE, round(step.size * self._image_size / _STRIDE) * _STRIDE)
        return self._image_size
