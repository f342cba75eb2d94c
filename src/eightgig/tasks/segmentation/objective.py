"""Segmentation, as the training loop sees it: a loss over the pixels of each image, and the mean IoU as the score."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_confusion_matrix

from eightgig.core.device import to_device
from eightgig.data.images.transforms import DeviceColour
from eightgig.data.store.masks import VOID
from eightgig.tasks.segmentation.parameters import SegmentationLossParameters
from eightgig.training.objective import Batch, ImageObjective, total


class JudgedPixels(NamedTuple):
    """What a batch adds: its summed loss (float64), which class was taken for which (int64), and images."""

    loss: Tensor
    confusion_KK: Tensor
    num_images: int


class SegmentationObjective(ImageObjective):
    """Cross-entropy, and Dice where it is asked for, on pixels that are not void; the score is the mean IoU.

    Batches hold `images` uint8 N3HW and `masks` uint8 NHW (positions in the classes, 255 where void).

    Args:
        colour: makes normalised float32 of the images.
        class_weights: float32 K.
        parameters: of the loss.
    """

    score_name, target = "mIoU", "masks"

    def __init__(self, colour: DeviceColour, class_weights: Tensor, parameters: SegmentationLossParameters) -> None:
        super().__init__(colour)
        self._class_weights, self._parameters = class_weights, parameters

    def loss_sum(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Return the loss summed over the images; each image's is a mean over its pixels."""
        return self._loss(*self.run(module, batch, device)).sum()

    def judge(self, module: nn.Module, batch: Batch, device: torch.device) -> JudgedPixels:
        """Judge a batch."""
        logits_NKHW, labels_NHW = self.run(module, batch, device)
        return JudgedPixels(
            self._loss(logits_NKHW, labels_NHW).sum().double(),
            confusion_of(logits_NKHW.argmax(1), labels_NHW, len(self._class_weights)),
            self.count(batch),
        )

    def figures(self, judged: Sequence[JudgedPixels]) -> dict[str, float]:
        """Return the mean loss, the mean IoU of all pixels together, and the share of pixels that are right."""
        confusion_KK = total(batch.confusion_KK for batch in judged)
        loss = total(batch.loss for batch in judged).item() / sum(batch.num_images for batch in judged)
        return {"loss": loss, "score": mean_iou(confusion_KK), "pixel_accuracy": pixel_accuracy(confusion_KK)}

    def targets(self, batch: Batch, device: torch.device) -> Tensor:
        """Return labels_NHW as int64."""
        return super().targets(batch, device).long()

    def _loss(self, logits_NKHW: Tensor, labels_NHW: Tensor) -> Tensor:
        if self._class_weights.device != logits_NKHW.device:
            self._class_weights = to_device(self._class_weights, logits_NKHW.device)
        loss_N = self._parameters.cross_entropy * pixel_cross_entropy(logits_NKHW, labels_NHW, self._class_weights)
        if self._parameters.dice:
            loss_N = loss_N + self._parameters.dice * dice_loss(logits_NKHW, labels_NHW)
        return loss_N


def pixel_cross_entropy(logits_NKHW: Tensor, labels_NHW: Tensor, weights_K: Tensor) -> Tensor:
    """Return each image's cross-entropy: the mean over its pixels weighed by their classes; 0 if all are void."""
    losses_NHW = functional.cross_entropy(
        logits_NKHW, labels_NHW, weight=weights_K, ignore_index=VOID, reduction="none"
    )
    known_NHW = labels_NHW != VOID
    weights_NHW = weights_K[labels_NHW.where(known_NHW, 0)] * known_NHW
    return losses_NHW.sum((1, 2)) / weights_NHW.sum((1, 2)).clamp_min(torch.finfo(weights_K.dtype).tiny)


def dice_loss(logits_NKHW: Tensor, labels_NHW: Tensor) -> Tensor:
    """Return each image's 1 - Dice, the mean over the classes it holds; void pixels do not count.

    Source: Milletari et al., "V-Net", 2016, with plain sums instead of sums of squares.
    """
    num_images, num_classes = logits_NKHW.shape[:2]
    known_NP = (labels_NHW != VOID).flatten(1)
    labels_NP = labels_NHW.flatten(1).where(known_NP, 0)
    shares_NKP = logits_NKHW.softmax(1).flatten(2) * known_NP[:, None]
    right_NP = shares_NKP.gather(1, labels_NP[:, None])[:, 0]  # no mask a class: it would be as large as the logits
    none_NK = logits_NKHW.new_zeros(num_images, num_classes)
    right_NK = none_NK.scatter_add(1, labels_NP, right_NP)
    true_NK = none_NK.scatter_add(1, labels_NP, known_NP.to(none_NK.dtype))
    dice_NK = 2 * right_NK / (shares_NKP.sum(2) + true_NK).clamp_min(1)
    held_NK = true_NK > 0
    return (held_NK * (1 - dice_NK)).sum(1) / held_NK.sum(1).clamp_min(1)


def soft_segmentation_loss_sum(student_NKHW: Tensor, teacher_NKHW: Tensor, *, temperature: float) -> Tensor:
    """Return how far a student's classes are from its teacher's, the mean over pixels, summed over the images.

    Kullback-Leibler divergence of the distributions softened by the temperature T, times T^2.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, a pixel at a time.
    """
    learnt = functional.log_softmax(student_NKHW.float() / temperature, 1)
    wanted = functional.log_softmax(teacher_NKHW.float() / temperature, 1)
    losses_NKHW = functional.kl_div(learnt, wanted, reduction="none", log_target=True)
    return losses_NKHW.sum(1).mean((1, 2)).sum() * temperature**2


def confusion_of(predicted_NHW: Tensor, labels_NHW: Tensor, num_classes: int) -> Tensor:
    """Return how many pixels of each true class (rows) were taken for which (columns), int64 K x K, without void."""
    counts: Tensor = multiclass_confusion_matrix(
        predicted_NHW, labels_NHW, num_classes=num_classes, ignore_index=VOID, validate_args=False
    )
    return counts


def iou_of_classes(confusion_KK: Tensor) -> Tensor:
    """Return each class' intersection over union, float64 K; NaN where the truth does not hold the class."""
    counts = confusion_KK.double()
    right, true, found = counts.diagonal(), counts.sum(1), counts.sum(0)
    return torch.where(true > 0, right / (true + found - right).clamp_min(1), torch.nan)


def mean_iou(confusion_KK: Tensor) -> float:
    """Return the mean over the classes that the truth holds; 0 where it holds none."""
    ious = iou_of_classes(confusion_KK)
    return float(ious.nanmean()) if bool(ious.isfinite().any()) else 0.0


def pixel_accuracy(confusion_KK: Tensor) -> float:
    """Return the share of pixels that are not void whose class is right."""
    return float(confusion_KK.diagonal().sum()) / max(1, int(confusion_KK.sum()))


def median_frequency_weights(pixels_NK: Tensor, *, most: float) -> Tensor:
    """Return a weight for each class, float32 K: the median frequency of all over its own, at most `most`.

    A class' frequency is its share of the pixels of the images that hold it; a class that none holds weighs 1.

    Args:
        pixels_NK: pixels of each class in each training image.
        most: the largest weight.

    Source: Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels", 2015.
    """
    counts_NK = pixels_NK.double()
    beside_K = ((counts_NK > 0) * counts_NK.sum(1, keepdim=True)).sum(0)
    frequency_K = counts_NK.sum(0) / beside_K.clamp_min(1)
    held_K = frequency_K > 0
    if not held_K.any():
        return torch.ones(pixels_NK.shape[1])
    weights_K = frequency_K[held_K].median() / frequency_K.clamp_min(1e-12)
    return torch.where(held_K, weights_K.clamp_max(most), 1.0).float()
