"""Numbers for objects, so that one keeps its own from frame to frame."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped, unused-ignore]
from torchvision.ops import box_iou

from eightgig.tasks.detection.detections import Detections


class Tracker:
    """Gives a detection the number of the object that it overlaps most, all pairs of a frame together.

    Only overlap and class count, so objects that cross may swap their numbers.

    Args:
        iou: smallest overlap with where the object was seen last.
        forget_after: frames without it after which an object's number is not given again.
    """

    def __init__(self, *, iou: float = 0.3, forget_after: int = 30) -> None:
        self._iou = iou
        self._forget_after = forget_after
        self._frame = 0
        self._next_id = 1
        self._boxes_xyxy_T4 = np.empty((0, 4), np.float32)
        self._labels_T, self._ids_T, self._seen_T = (np.empty(0, np.int64) for _ in range(3))

    def update(self, detections: Detections) -> NDArray[np.int64]:
        """Return the number of each detection of the next frame, from 1 on."""
        self._frame += 1
        rows, columns = self._pairs(detections)
        ids_M = np.zeros(len(detections.labels_M), np.int64)
        ids_M[rows] = self._ids_T[columns]
        is_new_M = ids_M == 0
        ids_M[is_new_M] = np.arange(self._next_id, self._next_id + is_new_M.sum())
        self._next_id += int(is_new_M.sum())
        self._remember(detections, ids_M)
        return ids_M

    def _pairs(self, detections: Detections) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        overlaps_MT = box_iou(torch.from_numpy(detections.boxes_xyxy_M4), torch.from_numpy(self._boxes_xyxy_T4)).numpy()
        overlaps_MT = np.where(detections.labels_M[:, None] == self._labels_T, overlaps_MT, 0)
        overlaps_MT[overlaps_MT < self._iou] = 0
        rows, columns = linear_sum_assignment(overlaps_MT, maximize=True)
        is_pair = overlaps_MT[rows, columns] > 0
        return rows[is_pair], columns[is_pair]

    def _remember(self, detections: Detections, ids_M: NDArray[np.int64]) -> None:
        kept = ~np.isin(self._ids_T, ids_M) & (self._seen_T >= self._frame - self._forget_after)
        self._boxes_xyxy_T4 = np.concatenate([self._boxes_xyxy_T4[kept], detections.boxes_xyxy_M4])
        self._labels_T = np.concatenate([self._labels_T[kept], detections.labels_M])
        self._ids_T = np.concatenate([self._ids_T[kept], ids_M])
        self._seen_T = np.concatenate([self._seen_T[kept], np.full(len(ids_M), self._frame)])
