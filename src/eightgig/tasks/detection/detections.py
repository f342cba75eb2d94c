"""From a detector's predictions to the boxes that are kept: non-maximum suppression."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_convert

# Of an image's candidates only the best are compared with each other, for time grows as their square.
_MOST_CANDIDATES = 30_000


class Detections(NamedTuple):
    """What was found in one image, best first.

    Attributes:
        boxes_xyxy_M4: float32, pixels.
        scores_M: float32, 0 to 1, falling.
        labels_M: int64, positions in the classes.
    """

    boxes_xyxy_M4: npt.NDArray[np.float32]
    scores_M: npt.NDArray[np.float32]
    labels_M: npt.NDArray[np.int64]


def suppress(
    predictions_NPK: Tensor | npt.NDArray[Any],
    *,
    confidence: float,
    iou: float,
    max_detections: int = 300,
    multi_label: bool = False,
) -> list[Detections]:
    """Return each image's detections: of boxes of one class that overlap, the one with the best score.

    A score is objectness times class probability.

    Args:
        predictions_NPK: N x P x (5 + K): centre x, y, width, height in pixels, objectness and class probabilities 0..1.
        confidence: 0 to 1; only better scores count.
        iou: 0 to 1; boxes of one class that overlap by more are one.
        max_detections: detections an image.
        multi_label: whether one prediction may count for several classes, as accuracy is measured, or for its best
            alone, as a person wants it.
    """
    predictions = torch.as_tensor(predictions_NPK).detach().float()
    return [_suppress_one(p, confidence, iou, max_detections, multi_label) for p in predictions.unbind(0)]


def _suppress_one(
    predictions_PK: Tensor, confidence: float, iou: float, max_detections: int, multi_label: bool
) -> Detections:
    # No score is better than its objectness: most predictions leave here, before there is anything to multiply.
    predictions_PK = predictions_PK[predictions_PK[:, 4] > confidence]
    scores_PK = predictions_PK[:, 5:] * predictions_PK[:, 4:5]
    if multi_label:
        places, labels_M = (scores_PK > confidence).nonzero(as_tuple=True)
        scores_M = scores_PK[places, labels_M]
    else:
        best_P, best_labels_P = scores_PK.max(1)
        places = (best_P > confidence).nonzero(as_tuple=True)[0]
        scores_M, labels_M = best_P[places], best_labels_P[places]
    if len(scores_M) > _MOST_CANDIDATES:
        scores_M, top = scores_M.topk(_MOST_CANDIDATES)
        places, labels_M = places[top], labels_M[top]
    boxes_M4 = box_convert(predictions_PK[places, :4], "cxcywh", "xyxy")
    kept = batched_nms(boxes_M4, scores_M, labels_M, iou)[:max_detections]
    return Detections(*(values[kept].cpu().numpy() for values in (boxes_M4, scores_M, labels_M)))
