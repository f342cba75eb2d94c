"""YOLOv5's loss on tensors whose shapes depend on no value.

Nothing is picked by a boolean: every target has the same candidates, and a mask says which of them count. So the memory
planner can trace the loss without values, and a GPU never waits for the CPU.

    targets N x M -> candidates N x M x A anchors x 5 cells -> mask, raw values there -> CIoU, objectness, classes
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from eightgig.tasks.detection.model import IMAGE_SIZE, STRIDES
from eightgig.tasks.detection.parameters import DetectionLossParameters

_TINY = 1e-7
_CLASSES_OF_COCO = 80


class DetectionLoss(NamedTuple):
    """The weighed parts of the loss, scalars; each is a sum over the images."""

    box: Tensor
    objectness: Tensor
    classes: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.box + self.objectness + self.classes


class Candidates(NamedTuple):
    """Where on one level each target may be learnt; all N x Q, with Q = M x A x 5.

    Attributes:
        mask: whether the candidate counts.
        anchor: int64, 0 to A - 1.
        row, column: int64, of the cell; inside the map also where the mask is false.
        target: float N x Q x 4: centre x, y from the cell's corner, width, height; all in cells.
        label: int64; -1 where there is no target.
    """

    mask: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    target: Tensor
    label: Tensor


def detection_loss_sum(
    raw: Sequence[Tensor],
    boxes_NM4: Tensor,
    labels_NM: Tensor,
    anchors: Tensor,
    *,
    parameters: DetectionLossParameters,
    strides: Sequence[int] = STRIDES,
) -> DetectionLoss:
    """Return the loss summed over the images.

    An image's loss is its own: means over its matches and its cells, level by level. So the sums of any micro-batches
    add up to that of the whole batch. Computed in float32, or float64 if `raw` is.

    Args:
        raw: N x A x H x W x (5 + K), one a level.
        boxes_NM4: xyxy in pixels of the network's input.
        labels_NM: int64; -1 where there is no box.
        anchors: levels x A x 2, pixels.
        parameters: how the parts are weighed.
        strides: of the levels, pixels.
    """
    height, width = (strides[0] * side for side in raw[0].shape[2:4])
    num_classes = raw[0].shape[-1] - 5
    objectness_gain = parameters.objectness * height * width / IMAGE_SIZE**2
    parts = []
    for level, (anchors_A2, stride) in enumerate(zip(anchors.to(raw[0].device), strides, strict=True)):
        candidates = find_candidates(
            boxes_NM4 / stride, labels_NM, anchors_A2 / stride, raw[level].shape[2:4], parameters.anchor_ratio
        )
        box_N, objectness_N, classes_N = _level_loss(raw[level], candidates, anchors_A2 / stride)
        parts.append(torch.stack([box_N, parameters.level_weights[level] * objectness_N, classes_N]))
    box, objectness, classes = torch.stack(parts).sum((0, 2))
    return DetectionLoss(
        box=parameters.box * box,
        objectness=objectness_gain * objectness,
        classes=parameters.classes * num_classes / _CLASSES_OF_COCO * classes,
    )


def find_candidates(
    boxes_NM4: Tensor, labels_NM: Tensor, anchors_A2: Tensor, map_size: Sequence[int], anchor_ratio: float
) -> Candidates:
    """Return the candidates of one level.

    Args:
        boxes_NM4: xyxy in cells of the level.
        labels_NM: int64; -1 where there is no box.
        anchors_A2: width and height in cells.
        map_size: rows and columns.
        anchor_ratio: a candidate counts when no side is more than this many times its anchor's, or less than its part.
    """
    height, width = map_size
    centres_NM2, sides_NM2 = (boxes_NM4[..., :2] + boxes_NM4[..., 2:]) / 2, boxes_NM4[..., 2:] - boxes_NM4[..., :2]
    ratio_NMA2 = sides_NM2[:, :, None] / anchors_A2
    fits_NMA = torch.maximum(ratio_NMA2, 1 / ratio_NMA2).amax(-1) < anchor_ratio
    column, row = (centres_NM2.floor()[:, :, None] + _neighbours(centres_NM2)).unbind(-1)  # N x M x 5
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    usable = inside & _is_near(centres_NM2) & (labels_NM >= 0)[..., None]
    mask = fits_NMA[..., None] & usable[:, :, None]
    column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    centres = centres_NM2[:, :, None] - torch.stack([column, row], -1)
    target = torch.cat([centres, sides_NM2[:, :, None].expand_as(centres)], -1)  # N x M x 5 x 4
    shape = mask.shape  # N x M x A x 5
    return Candidates(
        mask=mask.flatten(1),
        anchor=torch.arange(shape[2], device=mask.device)[:, None].expand(shape).flatten(1),
        row=row[:, :, None].long().expand(shape).flatten(1),
        column=column[:, :, None].long().expand(shape).flatten(1),
        target=target[:, :, None].expand(*shape, 4).flatten(1, 3),
        label=labels_NM[:, :, None, None].expand(shape).flatten(1),
    )


def complete_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the complete IoU of boxes (... x 4: centre x, y, width, height): 1 for the same, down to below -1.

    IoU less the squared distance of the centres over the squared diagonal around both, less a term for the difference
    of the aspect ratios, whose weight gets no gradient. torchvision's own picks by booleans.

    Source: Zheng et al., "Distance-IoU Loss", AAAI 2020.
    """
    centre1, side1, centre2, side2 = first[..., :2], first[..., 2:], second[..., :2], second[..., 2:]
    low1, high1, low2, high2 = centre1 - side1 / 2, centre1 + side1 / 2, centre2 - side2 / 2, centre2 + side2 / 2
    overlap = (torch.minimum(high1, high2) - torch.maximum(low1, low2)).clamp(min=0).prod(-1)
    iou = overlap / (side1.prod(-1) + side2.prod(-1) - overlap + _TINY)
    around = (torch.maximum(high1, high2) - torch.minimum(low1, low2)).square().sum(-1) + _TINY
    distance = (centre1 - centre2).square().sum(-1) / around
    aspect = 4 / math.pi**2 * (_angle(side2) - _angle(side1)).square()
    with torch.no_grad():
        weight = aspect / (1 - iou + aspect + _TINY)
    return iou - distance - weight * aspect


def _angle(sides: Tensor) -> Tensor:
    return torch.atan(sides[..., 0] / (sides[..., 1] + _TINY))


def _neighbours(like: Tensor) -> Tensor:
    """Return 5 x 2: from a cell to itself and to those left, above, right and below. Made where it is used."""
    unit = torch.eye(2, dtype=like.dtype, device=like.device)
    return torch.cat([torch.zeros_like(unit[:1]), -unit, unit])


def _is_near(centres_NM2: Tensor) -> Tensor:
    """Return which of five cells are within half a cell of the centre, its own and up to two more; bool N x M x 5."""
    fraction_NM2 = centres_NM2 - centres_NM2.floor()
    low, high = fraction_NM2 < 0.5, fraction_NM2 > 0.5
    return torch.cat([torch.ones_like(low[..., :1]), low, high], -1)


def _level_loss(raw_NAHWC: Tensor, at: Candidates, anchors_A2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return one level's box, objectness and class loss of each image, not weighed."""
    image = torch.arange(len(raw_NAHWC), device=raw_NAHWC.device)[:, None]
    found = _precise(raw_NAHWC[image, at.anchor, at.row, at.column])  # N x Q x (5 + K)
    near = found[..., :4].sigmoid()
    boxes = torch.cat([2 * near[..., :2] - 0.5, (2 * near[..., 2:]) ** 2 * anchors_A2[at.anchor]], -1)
    iou = complete_iou(boxes, at.target.to(boxes.dtype))
    target_NAHW = _objectness_target(iou.detach().clamp(min=0), at, raw_NAHWC.shape)
    objectness = _cross_entropy(_precise(raw_NAHWC[..., 4]), target_NAHW).flatten(1).mean(1)
    return _mean(1 - iou, at.mask), objectness, _class_loss(found[..., 5:], at)


def _objectness_target(iou_NQ: Tensor, at: Candidates, shape: Sequence[int]) -> Tensor:
    """Return N x A x H x W: the best IoU of those that are learnt in a cell, 0 where none is."""
    num_images, num_anchors, height, width = shape[:4]
    nowhere = num_anchors * height * width
    slot = torch.where(at.mask, (at.anchor * height + at.row) * width + at.column, nowhere)
    target = iou_NQ.new_zeros(num_images, nowhere + 1).scatter_reduce(1, slot, iou_NQ, "amax")
    return target[:, :nowhere].view(num_images, num_anchors, height, width)


def _class_loss(logits_NQK: Tensor, at: Candidates) -> Tensor:
    num_classes = logits_NQK.shape[-1]
    if num_classes == 1:  # objectness has said it all
        return logits_NQK.new_zeros(len(logits_NQK))
    is_class = at.label[..., None] == torch.arange(num_classes, device=at.label.device)
    return _mean(_cross_entropy(logits_NQK, is_class.to(logits_NQK.dtype)).mean(-1), at.mask)


def _mean(values_NQ: Tensor, mask_NQ: Tensor) -> Tensor:
    """Return each image's mean over what counts, 0 where nothing does."""
    return (values_NQ * mask_NQ).sum(1) / mask_NQ.sum(1).clamp(min=1)


def _cross_entropy(logits: Tensor, probabilities: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, probabilities, reduction="none")


def _precise(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
