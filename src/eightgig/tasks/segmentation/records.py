"""How right a segmenter is, as a record; imports nothing heavy."""

from eightgig.core.records import Record


class SegmentationClassRow(Record):
    """One class: its true pixels, and its intersection over union, precision and recall; None without a true pixel."""

    name: str
    pixels: int
    iou: float | None
    precision: float | None
    recall: float | None


class SegmentationReport(Record):
    """How right a segmenter is on images it never saw.

    Attributes:
        num_images: that were judged.
        num_pixels: of them that are not void, at the size in which the network sees them.
        miou: mean of the classes' intersections over unions, over the classes that the truth holds.
        pixel_accuracy: share of pixels whose class is right.
        mean_accuracy: mean of the classes' recalls.
        dice: mean over classes of 2 intersection / (true + found).
        absent_classes: without a true pixel.
    """

    num_images: int
    num_pixels: int
    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    dice: float
    per_class: tuple[SegmentationClassRow, ...]
    absent_classes: tuple[str, ...]
