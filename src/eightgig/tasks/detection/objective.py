"""Detection, as the training loop sees it: YOLOv5's loss, and a score of the boxes that are found."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eightgig.data.images.transforms import DeviceColour
from eightgig.data.store.boxes import Boxes
from eightgig.tasks.detection.detections import Detections, suppress
from eightgig.tasks.detection.model import RawMaps, YoloV5, decode_predictions
from eightgig.tasks.detection.parameters import DetectionLossParameters
from eightgig.tasks.detection.yolo_loss import DetectionLoss, detection_loss_sum
from eightgig.training.objective import Batch, JudgedByBatch

Score = Callable[[list[Detections], list[Boxes], int], float]
"""(detections of each image, its true boxes, number of classes) -> higher is better."""


class JudgedBoxes(NamedTuple):
    """What a batch adds: its summed losses, what was found in each image, what is there, and images."""

    losses_3: Tensor
    detections: list[Detections]
    targets: list[Boxes]
    num_images: int


class DetectionObjective(JudgedByBatch):
    """YOLOv5's loss on images with boxes; the score is of the boxes in pixels of the images as they were stored.

    Batches hold `images` uint8 N3HW, `boxes` float32 N x M x 4 (xyxy, pixels of the images), `box_labels` int64 N x M
    (-1: no box); to be evaluated also `scale` N, `offset` N x 2 (left, top) and `sizes` N x 2 (height, width of the
    source): image = source scale + offset.

    Args:
        colour: makes float32, 0 to 1, of the images.
        network: that is trained, never wrapped; its anchors are read when they are needed.
        parameters: of the loss.
        num_classes: K.
        score: of all images together.
        score_name: what `score` is called.
        confidence: detections with a better score count.
        iou: boxes of a class that overlap by more are one detection.
    """

    def __init__(
        self,
        colour: DeviceColour,
        network: YoloV5,
        *,
        parameters: DetectionLossParameters,
        num_classes: int,
        score: Score,
        score_name: str = "mAP50",
        confidence: float = 0.001,
        iou: float = 0.6,
    ) -> None:
        self.score_name = score_name
        self._colour, self._network, self._parameters = colour, network, parameters
        self._num_classes, self._score, self._confidence, self._iou = num_classes, score, confidence, iou

    def count(self, batch: Batch) -> int:
        """Return the number of images."""
        return int(batch["images"].shape[0])

    def loss_sum(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Return the loss summed over the images."""
        return self._loss(self._run(module, batch, device), batch, device).total

    def judge(self, module: nn.Module, batch: Batch, device: torch.device) -> JudgedBoxes:
        """Judge a batch."""
        raw = self._run(module, batch, device)
        losses_3 = torch.stack(self._loss(raw, batch, device))
        return JudgedBoxes(losses_3, self._detect(raw, batch), true_boxes(batch), self.count(batch))

    def figures(self, judged: Sequence[JudgedBoxes]) -> dict[str, float]:
        """Return the mean loss and its parts, and the score of the detections."""
        count = sum(batch.num_images for batch in judged)
        box, objectness, classes = (torch.stack([batch.losses_3 for batch in judged]).sum(0) / count).tolist()
        detections = [image for batch in judged for image in batch.detections]
        targets = [image for batch in judged for image in batch.targets]
        score = self._score(detections, targets, self._num_classes)
        parts = {"box_loss": box, "objectness_loss": objectness, "class_loss": classes}
        return {"loss": box + objectness + classes, "score": score, **parts}

    def _run(self, module: nn.Module, batch: Batch, device: torch.device) -> RawMaps:
        self._colour.to(device).train(module.training)
        images_N3HW: Tensor = batch["images"].to(device, non_blocking=True)
        raw: RawMaps = module(self._colour(images_N3HW))
        return raw

    def _loss(self, raw: RawMaps, batch: Batch, device: torch.device) -> DetectionLoss:
        boxes_NM4, labels_NM = (batch[name].to(device, non_blocking=True) for name in ("boxes", "box_labels"))
        return detection_loss_sum(raw, boxes_NM4, labels_NM, self._network.anchors, parameters=self._parameters)

    def _detect(self, raw: RawMaps, batch: Batch) -> list[Detections]:
        predictions_NPK = decode_predictions(raw, self._network.anchors)
        multi_label = self._num_classes > 1
        found = suppress(predictions_NPK, confidence=self._confidence, iou=self._iou, multi_label=multi_label)
        return [
            detections._replace(boxes_xyxy_M4=in_source(detections.boxes_xyxy_M4, batch, position))
            for position, detections in enumerate(found)
        ]


def soft_detection_loss_sum(student: Sequence[Tensor], teacher: Sequence[Tensor], *, temperature: float) -> Tensor:
    """Return how far a student's raw maps are from its teacher's, summed over the images; 0 where they agree.

    Objectness is compared in all cells. Boxes (squared error of the sigmoids) and classes count as much as the teacher
    believes that there is an object: cells of background have nothing to teach. Means are over an image's cells, and
    weighed by that belief, whose sum counts as 1 at least. Objectness and classes are softened by the temperature T,
    and multiplied by T^2.

    Args:
        student: N x A x H x W x (5 + K), one a level.
        teacher: the same shapes.
        temperature: above 0.

    Source: Mehta and Ozturk, "Object detection at 200 frames per second", ECCV workshops 2018.
    """
    sums = [_soft_level(s.float(), t.float(), temperature) for s, t in zip(student, teacher, strict=True)]
    objectness_N, weighed_N, belief_N = torch.stack(sums).sum(0)
    num_cells = sum(level[0, ..., 0].numel() for level in student)
    return (objectness_N / num_cells + weighed_N / belief_N.clamp(min=1)).sum()


def _soft_level(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return 3 x N: the sums over one level's cells of objectness, of boxes and classes weighed, and of the weights."""
    belief = teacher[..., 4].sigmoid()
    boxes = (student[..., :4].sigmoid() - teacher[..., :4].sigmoid()).square().sum(-1)
    objectness = _divergence(student[..., 4], teacher[..., 4], temperature)
    classes = _divergence(student[..., 5:], teacher[..., 5:], temperature).mean(-1)
    return torch.stack([part.flatten(1).sum(1) for part in (objectness, belief * (boxes + classes), belief)])


def _divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(teacher / T || student / T) of independent yes-or-no logits, element by element."""
    softened, wanted = student / temperature, teacher / temperature
    yes = functional.binary_cross_entropy_with_logits
    difference = yes(softened, wanted.sigmoid(), reduction="none") - yes(wanted, wanted.sigmoid(), reduction="none")
    return temperature**2 * difference


def true_boxes(batch: Batch) -> list[Boxes]:
    """Return each image's boxes in pixels of the image, without the padding."""
    targets = []
    for position, labels_M in enumerate(batch["box_labels"].cpu().numpy()):
        boxes_M4 = batch["boxes"][position].cpu().numpy()[labels_M >= 0]
        targets.append(Boxes(in_source(boxes_M4, batch, position), labels_M[labels_M >= 0]))
    return targets


def in_source(boxes_xyxy_M4: Any, batch: Batch, position: int) -> Any:
    """Return boxes of the network's input in pixels of the image they were found in, cut at its edges."""
    scale, offset, size = (batch[name][position].cpu().numpy() for name in ("scale", "offset", "sizes"))
    corners_M22 = (boxes_xyxy_M4.reshape(-1, 2, 2) - offset) / scale
    return corners_M22.clip(0, size[::-1]).reshape(-1, 4).astype("float32")
