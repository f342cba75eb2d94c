"""What is found about a detector; imports nothing heavy, so that Kedro reads it fast."""

from eightgig.core.records import Record


class DetectionClassRow(Record):
    """One class of a DetectionReport; the figures are None where no box of the class was there.

    Attributes:
        name: the class.
        boxes: true boxes of it.
        ap50: average precision at IoU 0.5.
        ap50_95: mean of the average precisions at IoU 0.50, 0.55, ... 0.95.
        precision: share of the boxes found as this class that are right, at the report's confidence; 0 when none was.
        recall: share of its boxes that were found, at the report's confidence.
    """

    name: str
    boxes: int
    ap50: float | None
    ap50_95: float | None
    precision: float | None
    recall: float | None


class DetectionReport(Record):
    """How right a detector is, as COCO counts. All shares are 0 to 1; means are over the classes that have boxes.

    Attributes:
        num_images: evaluated.
        num_boxes: true boxes in them.
        map50: mean average precision at IoU 0.5.
        map50_95: the same, mean over IoU 0.50, 0.55, ... 0.95.
        precision: mean over the classes, at IoU 0.5 and `confidence`.
        recall: the same.
        f1: mean over the classes of the harmonic mean of both.
        confidence: the smallest score that counts for these three: where the mean F1 is highest.
        per_class: a row a class, in the classes' order.
        absent_classes: those without a box.
    """

    num_images: int
    num_boxes: int
    map50: float
    map50_95: float
    precision: float
    recall: float
    f1: float
    confidence: float
    per_class: tuple[DetectionClassRow, ...]
    absent_classes: tuple[str, ...]


class DetectionDifference(Record):
    """How far the boxes of one runner are from those of another, on the same images.

    Attributes:
        num_images: compared.
        num_boxes: of the reference.
        same_count: share of images in which both found the same number of boxes.
        unmatched: boxes of either that have no partner of the same class at IoU 0.5.
        min_iou: smallest overlap of a pair; 1 where there is none.
        max_score_diff: largest difference of a pair's scores; 0 where there is none.
    """

    num_images: int
    num_boxes: int
    same_count: float
    unmatched: int
    min_iou: float
    max_score_diff: float
