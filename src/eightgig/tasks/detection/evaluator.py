"""Detection as a task: what a detector's outputs mean, and how two runners of one detector are compared."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eightgig.data.store.boxes import Boxes
from eightgig.export.evaluator import Comparison, EvaluatorOfAll
from eightgig.export.runners import Arrays
from eightgig.tasks.detection.box_matching import compare_detections, match
from eightgig.tasks.detection.detections import Detections, suppress
from eightgig.tasks.detection.metrics import mean_average_precision

# An overlap of 0.99 weighs as much as a score that is 0.001 off.
_IOU_WEIGHT = 0.1


class DetectionEvaluator(EvaluatorOfAll):
    """Boxes of several classes an image; an `eightgig.export.evaluator.Evaluator`.

    Its answers are `Detections`, its truths `Boxes`, both in pixels of the network's canvas. All count together: so
    COCO does it, and of two runners whether any box is sure decides which count.

    Args:
        classes: names, by label.
        confidence: smallest score of an answer; low, because average precision looks at all of them.
        iou: of two boxes of one class that overlap more, the lower score is dropped.
        sure: smallest score of the boxes that two runners are compared by.
    """

    output = "predictions"
    score_name = "mAP50"

    def __init__(
        self, classes: Sequence[str], *, confidence: float = 0.001, iou: float = 0.6, sure: float = 0.25
    ) -> None:
        self._classes, self._confidence, self._iou, self._sure = classes, confidence, iou, sure

    def predictions(self, outputs: Arrays) -> list[Detections]:
        """Return the detections of each image of predictions_NPK."""
        return suppress(outputs[self.output], confidence=self._confidence, iou=self._iou, multi_label=True)

    def quality(self, predictions: Sequence[Detections], targets: Sequence[Boxes]) -> dict[str, float]:
        """Return mAP50 and mAP50-95, as COCO counts; zeros where no image has a box."""
        if not any(len(truth.labels_M) for truth in targets):
            return {self.score_name: 0.0, "mAP50_95": 0.0}
        report, _ = mean_average_precision(predictions, targets, self._classes)
        return {self.score_name: report.map50, "mAP50_95": report.map50_95}

    def compare(self, reference: Sequence[Detections], found: Sequence[Detections]) -> Comparison:
        """Return how far the sure boxes are apart.

        The difference is the largest of: that of two scores; a tenth of what an overlap lacks of 1; and, for a box
        that only one of both has, how far its score is above the least that counts.
        """
        least = self._least(reference)
        wanted, other = (
            [_those(one, one.scores_M >= least) for one in predictions] for predictions in (reference, found)
        )
        compared = compare_detections(wanted, other)
        lonely = [
            float(one.scores_M.max()) - least for pair in zip(wanted, other, strict=True) for one in _left_over(*pair)
        ]
        return Comparison(
            difference=max(compared.max_score_diff, _IOU_WEIGHT * (1 - compared.min_iou), *lonely, 0.0),
            agreement=compared.same_count,
            min_iou=compared.min_iou,
        )

    def _least(self, reference: Sequence[Detections]) -> float:
        """Return the smallest score that counts; a network that is sure of nothing is compared by all that it says."""
        is_sure = any((one.scores_M >= self._sure).any() for one in reference)
        return self._sure if is_sure else self._confidence


def _left_over(first: Detections, second: Detections) -> list[Detections]:
    """Return of each side the boxes without a partner, where there are any."""
    pairs = match(second, Boxes(first.boxes_xyxy_M4, first.labels_M), confidence=-np.inf)
    sides = ((first, pairs.misses), (second, pairs.false_alarms))
    return [_those(side, places) for side, places in sides if len(places)]


def _those(answer: Detections, places: NDArray[Any]) -> Detections:
    return Detections(answer.boxes_xyxy_M4[places], answer.scores_M[places], answer.labels_M[places])
