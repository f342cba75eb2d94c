"""What a benchmark finds; imports nothing heavy, so that Kedro reads it fast."""

from eightgig.core.records import Record


class ClassRow(Record):
    """One class of a ClassificationReport; the figures are None where no image of the class was there.

    Attributes:
        name: the class.
        images: how many were evaluated.
        precision: share of the images given this class that are of it; 0 when none was given it.
        recall: share of its images that were given it.
        f1: their harmonic mean.
    """

    name: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None


class ClassificationReport(Record):
    """How right a classifier is. All shares are 0 to 1.

    Attributes:
        num_images: evaluated.
        accuracy: share of images whose most probable class is right.
        top5_accuracy: share whose right class is among the `top_k` most probable.
        top_k: 5, or the number of classes where there are fewer (then top5_accuracy is 1 by definition).
        macro_f1: mean F1 of the classes that appear in the labels or in the predictions.
        loss: mean negative log-likelihood, nats.
        expected_calibration_error: mean gap between confidence and accuracy, 15 bins.
        per_class: a row a class, in the classes' order.
        absent_classes: those without an image.
    """

    num_images: int
    accuracy: float
    top5_accuracy: float
    top_k: int
    macro_f1: float
    loss: float
    expected_calibration_error: float
    per_class: tuple[ClassRow, ...]
    absent_classes: tuple[str, ...]
