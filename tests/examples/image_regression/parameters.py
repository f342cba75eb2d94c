"""What may be asked of a regression on images, and what comes out; imports nothing heavy."""

from eightgig.core.records import Record
from eightgig.data.images.parameters import AugmentParameters, ImageParameters
from eightgig.models.parameters import ImageModelParameters
from eightgig.stages.task import Records
from eightgig.training.parameters import TrainParameters


class RegressionDataParameters(ImageParameters):
    """Images below `root`, and a CSV `table` in it: the column `image`, and the number under a name of its own."""

    root: str
    table: str = "labels.csv"


class RegressorTrainParameters(TrainParameters):
    """The recipe; `augment` tells how training images vary, None takes the middle of each."""

    augment: AugmentParameters | None = AugmentParameters()


class RegressionReport(Record):
    """Errors on images never seen, in the numbers' unit; `mae_of_mean` is of always saying the training mean."""

    num_images: int
    mae: float
    r2: float
    mae_of_mean: float


RECORDS: Records = {"model": ImageModelParameters, "data": RegressionDataParameters, "train": RegressorTrainParameters}
