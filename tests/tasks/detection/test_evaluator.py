"""A detector's outputs as answers: judged, and compared so that nothing passes by being silent."""

import numpy as np
import pytest

from eightgig.data.store.boxes import Boxes
from eightgig.tasks.detection.detections import Detections
from eightgig.tasks.detection.evaluator import DetectionEvaluator

TASK = DetectionEvaluator(["cup", "pen"])


def found(*rows):
    boxes, scores, labels = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64)
    )


def test_predictions_become_detections_and_are_judged():
    predictions_NPK = np.zeros((1, 3, 7), np.float32)
    predictions_NPK[0, 0] = [20, 20, 20, 20, 0.9, 1.0, 0.0]
    predictions_NPK[0, 1] = [21, 20, 20, 20, 0.8, 1.0, 0.0]  # overlaps the first
    predictions = TASK.predictions({"predictions": predictions_NPK})
    assert [(a.boxes_xyxy_M4.tolist(), a.labels_M.tolist()) for a in predictions] == [([[10, 10, 30, 30]], [0])]
    truth = Boxes(np.array([[10, 10, 30, 30]], np.float32), np.array([0]))
    assert TASK.quality(predictions, [truth]) == {"mAP50": pytest.approx(1), "mAP50_95": pytest.approx(1)}
    assert TASK.quality(predictions, [Boxes(truth.xyxy_M4[:0], truth.labels_M[:0])]) == {"mAP50": 0, "mAP50_95": 0}


def test_scores_and_overlaps_are_weighed_together():
    reference = [found(([0, 0, 100, 100], 0.9, 0))]
    assert TASK.compare(reference, reference).difference == 0
    scored = TASK.compare(reference, [found(([0, 0, 100, 100], 0.88, 0))])
    assert (scored.difference, scored.agreement, scored.min_iou) == (pytest.approx(0.02, abs=1e-6), 1, 1)
    moved = TASK.compare(reference, [found(([0, 0, 100, 99], 0.9, 0))])
    assert (moved.difference, moved.min_iou) == (pytest.approx(1e-3, rel=1e-3), pytest.approx(0.99))


def test_a_box_that_one_lacks_counts_by_its_score():
    reference = [found(([0, 0, 10, 10], 0.9, 0), ([50, 50, 60, 60], 0.6, 1))]
    lacking = TASK.compare(reference, [found(([0, 0, 10, 10], 0.9, 0))])
    assert (lacking.difference, lacking.agreement) == (pytest.approx(0.35), 0)
    renamed = TASK.compare(reference, [found(([0, 0, 10, 10], 0.9, 0), ([50, 50, 60, 60], 0.6, 0))])
    assert renamed.difference == pytest.approx(0.35)
    more = TASK.compare(reference, [found(*zip(*reference[0], strict=True), ([80, 80, 90, 90], 0.3, 0))])
    assert more.difference == pytest.approx(0.05, abs=1e-6)


def test_a_network_that_is_sure_of_nothing_is_compared_by_all_it_says():
    reference = [found(([0, 0, 10, 10], 0.2, 0))]
    assert TASK.compare(reference, [found()]).difference == pytest.approx(0.199, abs=1e-6)
