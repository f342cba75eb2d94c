"""What may be asked of the segmenter beside what all case studies share; imports nothing heavy."""

from eightgig.data.parameters import DataParameters
from eightgig.data.segmentation.parameters import SegmentationDataParameters
from eightgig.models.parameters import ModelParameters, PictureModelParameters
from eightgig.stages.case import Records
from eightgig.training.parameters import TrainParameters
from eightgig.training.segmentation_parameters import SegmenterTrainParameters

RECORDS: Records = {
    ModelParameters: PictureModelParameters,
    DataParameters: SegmentationDataParameters,
    TrainParameters: SegmenterTrainParameters,
}
