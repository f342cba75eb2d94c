"""What may be asked of the detector beside what all case studies share; imports nothing heavy."""

from eightgig.data.detection.augment import BoxAugmentParameters
from eightgig.data.detection.parameters import DetectionDataParameters
from eightgig.data.parameters import DataParameters
from eightgig.models.parameters import ModelParameters, PictureModelParameters
from eightgig.stages.case import Records
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


RECORDS: Records = {
    ModelParameters: PictureModelParameters,
    DataParameters: DetectionDataParameters,
    TrainParameters: DetectorTrainParameters,
}
