"""Segmentation judged: a report from a confusion matrix, and the task that all forms of a segmenter do."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from eightgig.core.errors import DataError
from eightgig.data.store.masks import Labels
from eightgig.export.evaluator import Comparer, Comparison, Judge
from eightgig.export.runners import Arrays
from eightgig.tasks.segmentation.objective import confusion_of, iou_of_classes
from eightgig.tasks.segmentation.records import SegmentationClassRow, SegmentationReport


class PixelPrediction(NamedTuple):
    """What a segmenter says of one image: little enough to keep for all test images.

    Attributes:
        labels_HW: the likeliest class of each pixel, uint8.
        best_HW: its probability, float32.
        second_HW: that of the next class, float32.
    """

    labels_HW: Labels
    best_HW: NDArray[np.float32]
    second_HW: NDArray[np.float32]


class SegmentationEvaluator:
    """A class for each pixel; an `eightgig.export.evaluator.Evaluator`.

    Its answers are `PixelPrediction`, its truths labels_HW with 255 where void.
    """

    output = "logits"
    score_name = "mIoU"

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes

    def predictions(self, outputs: Arrays) -> list[PixelPrediction]:
        """Return the answer for each image of logits_NKHW."""
        return [_answer(logits_KHW) for logits_KHW in outputs[self.output]]

    def judge(self) -> Judge:
        """Return what counts pixels image by image."""
        return _PixelJudge(self._classes)

    def comparer(self) -> Comparer:
        """Return what compares pixels image by image."""
        return _PixelComparer()

    def quality(self, predictions: Sequence[PixelPrediction], targets: Sequence[Labels]) -> dict[str, float]:
        """Return the mean IoU, the share of right pixels, and the mean of the classes' recalls."""
        judge = self.judge()
        judge.add(predictions, targets)
        return judge.quality()

    def compare(self, reference: Sequence[PixelPrediction], found: Sequence[PixelPrediction]) -> Comparison:
        """Return how far the probabilities are apart, and the share of pixels with the same class."""
        comparer = self.comparer()
        comparer.add(reference, found)
        return comparer.comparison()


class _PixelJudge:
    """Keeps the confusion matrix alone: the answers to some thousand images would be gigabytes."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes, self._num_images = classes, 0
        self._confusion_KK = np.zeros((len(classes), len(classes)), np.int64)

    def add(self, predictions: Sequence[PixelPrediction], targets: Sequence[Labels]) -> None:
        self._confusion_KK += confusion_counts(predictions, targets, len(self._classes))
        self._num_images += len(predictions)

    def quality(self) -> dict[str, float]:
        report = report_of(self._confusion_KK, self._classes, self._num_images)
        return {
            "mIoU": report.miou,
            "pixel_accuracy": report.pixel_accuracy,
            "mean_accuracy": report.mean_accuracy,
        }


class _PixelComparer:
    """Keeps the largest difference, and counts pixels with the same class.

    Where both say the same class the difference is that of its probabilities. Where they do not, each gives the other's
    class at most its own second probability, so the difference is at least what is left between them.
    """

    def __init__(self) -> None:
        self._largest, self._same, self._count = 0.0, 0, 0

    def add(self, reference: Sequence[PixelPrediction], found: Sequence[PixelPrediction]) -> None:
        for wanted, other in zip(reference, found, strict=True):
            agree_HW = wanted.labels_HW == other.labels_HW
            apart_HW = np.where(
                agree_HW,
                np.abs(wanted.best_HW - other.best_HW),
                np.maximum(wanted.best_HW - other.second_HW, other.best_HW - wanted.second_HW),
            )
            self._largest = max(self._largest, float(apart_HW.max()))
            self._same, self._count = self._same + int(agree_HW.sum()), self._count + agree_HW.size

    def comparison(self) -> Comparison:
        return Comparison(difference=self._largest, agreement=self._same / self._count)


def _answer(logits_KHW: NDArray[np.float32]) -> PixelPrediction:
    shares_KHW = torch.from_numpy(logits_KHW).softmax(0)
    best_HW, labels_HW = shares_KHW.max(0)
    second_HW = shares_KHW.scatter_(0, labels_HW[None], -1.0).amax(0)
    return PixelPrediction(labels_HW.to(torch.uint8).numpy(), best_HW.numpy(), second_HW.numpy())


def confusion_counts(
    predictions: Sequence[PixelPrediction], targets: Sequence[Labels], num_classes: int
) -> NDArray[np.int64]:
    """Return how many pixels of each true class (rows) were taken for which (columns), int64 K x K, without void."""
    counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for answer, labels_HW in zip(predictions, targets, strict=True):
        found, true = (torch.from_numpy(each.astype(np.int64)) for each in (answer.labels_HW, labels_HW))
        counts += confusion_of(found[None], true[None], num_classes)
    return counts.numpy()


def report_of(confusion_KK: NDArray[np.int64], classes: Sequence[str], num_images: int) -> SegmentationReport:
    """Return the report of a confusion matrix (rows are true classes).

    Raises:
        DataError: it holds no pixel.
    """
    true_K, found_K, right_K = confusion_KK.sum(1), confusion_KK.sum(0), confusion_KK.diagonal()
    if not true_K.sum():
        raise DataError("evaluation wants pixels of at least one class, but all of the truth is void")
    held = true_K > 0
    recall_K, precision_K = right_K / np.maximum(true_K, 1), right_K / np.maximum(found_K, 1)
    iou_K = iou_of_classes(torch.from_numpy(confusion_KK)).numpy()
    rows = tuple(
        SegmentationClassRow(
            name=name,
            pixels=int(true_K[place]),
            iou=float(iou_K[place]) if held[place] else None,
            precision=float(precision_K[place]) if held[place] else None,
            recall=float(recall_K[place]) if held[place] else None,
        )
        for place, name in enumerate(classes)
    )
    return SegmentationReport(
        num_images=num_images,
        num_pixels=int(true_K.sum()),
        miou=float(iou_K[held].mean()),
        pixel_accuracy=float(right_K.sum() / true_K.sum()),
        mean_accuracy=float(recall_K[held].mean()),
        dice=float((2 * right_K / np.maximum(true_K + found_K, 1))[held].mean()),
        per_class=rows,
        absent_classes=tuple(row.name for row in rows if not row.pixels),
    )
