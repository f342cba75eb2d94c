"""What may be asked of the detector beside what all case studies share; imports nothing heavy."""

from pydantic import Field

from eightgig.data.detection.augment import BoxAugmentParameters
from eightgig.data.detection.parameters import DetectionDataParameters
from eightgig.data.parameters import DataParameters
from eightgig.models.parameters import ModelParameters, PictureModelParameters
from eightgig.stages.case import Records
from eightgig.stages.samples import PredictParameters
from eightgig.training.detection_parameters import DetectionLossParameters
from eightgig.training.parameters import TrainParameters


class DetectorTrainParameters(TrainParameters):
    """The recipe of the detector.

    Attributes:
        autoanchor: whether anchors are fitted to the training boxes where COCO's do not fit them.
        augment: how training pictures vary.
        loss: weights of the loss's parts.
    """

    autoanchor: bool = True
    augment: BoxAugmentParameters = BoxAugmentParameters()
    loss: DetectionLossParameters = DetectionLossParameters()


class DetectorPredictParameters(PredictParameters):
    """Which pictures to look at, and which boxes to keep.

    Attributes:
        confidence: smallest score.
        iou: of two boxes of one class that overlap more, the lower score is dropped.
        most: boxes a picture.
    """

    confidence: float = Field(default=0.25, ge=0, le=1)
    iou: float = Field(default=0.45, ge=0, le=1)
    most: int = Field(default=300, ge=1)


RECORDS: Records = {
    ModelParameters: PictureModelParameters,
    DataParameters: DetectionDataParameters,
    TrainParameters: DetectorTrainParameters,
}
