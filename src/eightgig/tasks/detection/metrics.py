"""How right a detector is, by COCO's own code: one record, the precision-recall curves, and quick figures for training.

COCO's rules: in each image and class the detections, best first, each take the true box that they overlap most and
that is still free; at most 100 of an image count; precision is read at 101 recalls and made to fall only.
"""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from eightgig.core.errors import DataError
from eightgig.data.store.boxes import Boxes
from eightgig.tasks.detection.detections import Detections
from eightgig.tasks.detection.records import DetectionClassRow, DetectionReport

_IOUS = np.linspace(0.5, 0.95, 10)
_MOST_IN_A_IMAGE = 100
_CONFIDENCES = np.linspace(0.0, 1.0, 1001)


def mean_average_precision(
    detections: Sequence[Detections], targets: Sequence[Boxes], classes: Sequence[str]
) -> tuple[DetectionReport, pd.DataFrame]:
    """Return the report and the precision-recall curves [class, recall, precision] at IoU 0.5.

    A curve has 101 rows, recall 0 to 1 in steps of 0.01; classes without a box have none.

    Args:
        detections: of each image. The report names the best confidence, so give them down to a low one (0.001).
        targets: of each image, in the same order and the same pixels.
        classes: K names.

    Raises:
        DataError: not as many detections as images, no true box at all, or a label outside of the classes.
    """
    evaluation = _evaluated(detections, targets, len(classes), _IOUS)
    precisions_TRK = evaluation.eval["precision"][:, :, :, 0, 0]
    counts = np.bincount(_joined_labels(targets), minlength=len(classes))
    present = np.flatnonzero(counts).tolist()
    points = [_working_points(evaluation, index) for index in present]
    best, confidence = _best_point(points)
    figures = dict(zip(present, points, strict=True))
    rows = tuple(
        DetectionClassRow(name=name, boxes=int(counts[k]), **_figures(precisions_TRK[:, :, k], figures.get(k), best))
        for k, name in enumerate(classes)
    )
    report = DetectionReport(
        num_images=len(targets),
        num_boxes=int(counts.sum()),
        map50=_mean(precisions_TRK[0]),
        map50_95=_mean(precisions_TRK),
        precision=float(np.mean([point.precisions[best] for point in points])),
        recall=float(np.mean([point.recalls[best] for point in points])),
        f1=float(np.mean([point.f1s[best] for point in points])),
        confidence=confidence,
        per_class=rows,
        absent_classes=tuple(row.name for row in rows if row.boxes == 0),
    )
    return report, _curves(precisions_TRK[0], evaluation.params.recThrs, classes)


def map50(detections: Sequence[Detections], targets: Sequence[Boxes], num_classes: int) -> float:
    """Return the mean average precision at IoU 0.5 alone, 0 to 1: a tenth of the work. DataError as above."""
    return _mean(_evaluated(detections, targets, num_classes, _IOUS[:1]).eval["precision"])


def map50_95(detections: Sequence[Detections], targets: Sequence[Boxes], num_classes: int) -> float:
    """Return the mean over IoU 0.50, 0.55, ... 0.95 of the mean average precision, 0 to 1. DataError as above."""
    return _mean(_evaluated(detections, targets, num_classes, _IOUS).eval["precision"])


class _WorkingPoints(NamedTuple):
    """What one class would have at each confidence of `_CONFIDENCES`, at IoU 0.5."""

    precisions: NDArray[np.float64]
    recalls: NDArray[np.float64]

    @property
    def f1s(self) -> NDArray[np.float64]:
        both = self.precisions + self.recalls
        return 2 * self.precisions * self.recalls / np.where(both > 0, both, 1.0)


def _working_points(evaluation: Any, label: int) -> _WorkingPoints:
    num_images = len(evaluation.params.imgIds)
    parts = [part for part in evaluation.evalImgs[label * num_images : (label + 1) * num_images] if part is not None]
    num_truths = sum(len(part["gtIds"]) for part in parts)
    scores = np.concatenate([part["dtScores"] for part in parts])
    right = np.concatenate([part["dtMatches"][0] > 0 for part in parts])
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate([[0], np.cumsum(right[order])])
    num_found = np.searchsorted(-scores[order], -_CONFIDENCES, side="right")
    return _WorkingPoints(hits[num_found] / np.maximum(num_found, 1), hits[num_found] / num_truths)


def _best_point(points: Sequence[_WorkingPoints]) -> tuple[int, float]:
    """Return the place in `_CONFIDENCES` with the highest mean F1, the middle one of those that are equally good."""
    mean_f1s = np.mean([point.f1s for point in points], axis=0)
    equals = np.flatnonzero(mean_f1s == mean_f1s.max())
    best = int(equals[len(equals) // 2])
    return best, float(_CONFIDENCES[best])


def _figures(precisions_TR: NDArray[np.float64], point: _WorkingPoints | None, best: int) -> dict[str, float | None]:
    if point is None:
        return dict.fromkeys(("ap50", "ap50_95", "precision", "recall"))
    means = {"ap50": float(precisions_TR[0].mean()), "ap50_95": float(precisions_TR.mean())}
    return {**means, "precision": float(point.precisions[best]), "recall": float(point.recalls[best])}


def _curves(precisions_RK: NDArray[np.float64], recalls: NDArray[np.float64], classes: Sequence[str]) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"class": name, "recall": recalls, "precision": precisions_RK[:, index]})
        for index, name in enumerate(classes)
        if precisions_RK[0, index] >= 0
    ]
    return pd.concat(parts, ignore_index=True)


def _mean(precisions: NDArray[np.float64]) -> float:
    return float(precisions[precisions >= 0].mean())  # COCO writes -1 where a class has no box


def _evaluated(
    detections: Sequence[Detections], targets: Sequence[Boxes], num_classes: int, ious: NDArray[np.float64]
) -> Any:
    """Run COCO's evaluation without its printing; its arrays are IoU x recall x class x area (all) x most (100)."""
    _refuse_misfits(detections, targets, num_classes)
    found = [(each.boxes_xyxy_M4, each.labels_M, each.scores_M) for each in detections]
    wanted = [(each.xyxy_M4, each.labels_M, np.ones(len(each.labels_M))) for each in targets]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(wanted, num_classes), _coco(found, num_classes), "bbox")
        evaluation.params.iouThrs = ious
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0.0, 1e10]], ["all"]
        evaluation.params.maxDets = [_MOST_IN_A_IMAGE]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _coco(images: Sequence[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]], num_classes: int) -> COCO:
    """Return boxes, labels and scores of images as COCO's index of them, made in memory."""
    coco, annotations = COCO(), list[dict[str, Any]]()
    for image, (boxes_xyxy_M4, labels_M, scores_M) in enumerate(images):
        sizes_M2 = boxes_xyxy_M4[:, 2:] - boxes_xyxy_M4[:, :2]
        boxes = np.concatenate([boxes_xyxy_M4[:, :2], sizes_M2], axis=1).tolist()
        for box, label, score in zip(boxes, labels_M.tolist(), scores_M.tolist(), strict=True):
            # 0 as an identity would read as "no match".
            known = {"id": len(annotations) + 1, "image_id": image, "category_id": label}
            annotations.append({**known, "bbox": box, "area": box[2] * box[3], "score": score, "iscrowd": 0})
    coco.dataset = {
        "images": [{"id": image} for image in range(len(images))],
        "categories": [{"id": label} for label in range(num_classes)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _joined_labels(boxes: Sequence[Boxes]) -> NDArray[np.int64]:
    return np.concatenate([each.labels_M for each in boxes])


def _refuse_misfits(detections: Sequence[Detections], targets: Sequence[Boxes], num_classes: int) -> None:
    num_boxes = sum(len(each.labels_M) for each in targets)
    if len(detections) != len(targets) or num_boxes == 0:
        raise DataError(
            "evaluation wants the detections of every image and at least 1 true box; found detections of "
            f"{len(detections)} images, and {num_boxes} true boxes in {len(targets)} images"
        )
    labels = np.concatenate([_joined_labels(targets), *[each.labels_M for each in detections]])
    if labels.min() < 0 or labels.max() >= num_classes:
        raise DataError(
            f"evaluation wants labels 0 to {num_classes - 1}, found {labels.min()} to {labels.max()}: "
            "the model and the data have different classes"
        )
