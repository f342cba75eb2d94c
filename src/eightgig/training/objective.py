"""What a training loop needs to know of a task: how a batch reaches the device, its loss, and how good a model is."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from eightgig.data.images.transforms import DeviceColour

Batch = Mapping[str, Any]
"""Tensors by name; the first axis of each is the sample."""


class Objective(Protocol):
    """One task, as the loop sees it.

    Attributes:
        score_name: what `score` is, in the field's words.
    """

    score_name: str

    def count(self, batch: Batch) -> int:
        """Return the number of samples in the batch."""

    def loss_sum(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Return the loss summed over the batch's samples, a scalar with gradients."""

    def evaluate(self, module: nn.Module, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
        """Return the mean validation `loss`, the `score` (higher is better) that chooses the best epoch, and more."""


class ClassSums:
    """What the validation of classes adds up, on the device: to read a figure is to wait for the card.

    Args:
        device: of the logits.
    """

    def __init__(self, device: torch.device) -> None:
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._count = 0

    def add(self, logits_NK: Tensor, labels_N: Tensor) -> None:
        """Count a batch in."""
        self._loss += functional.cross_entropy(logits_NK, labels_N, reduction="sum")
        self._correct += (logits_NK.argmax(1) == labels_N).sum()
        self._count += len(labels_N)

    def figures(self) -> dict[str, float]:
        """Return the mean loss, and the accuracy, which is the score."""
        accuracy = self._correct.item() / self._count
        return {"loss": self._loss.item() / self._count, "score": accuracy, "accuracy": accuracy}


class ImageObjective:
    """What objectives on images share.

    Images travel as uint8 (a quarter of the bytes); colour changes and normalisation happen on the device.

    Args:
        colour: makes normalised float32 of the images.

    Attributes:
        target: name in the batches of what is right.
    """

    target: ClassVar[str]

    def __init__(self, colour: DeviceColour) -> None:
        self._colour = colour

    def count(self, batch: Batch) -> int:
        """Return the number of images."""
        return int(batch["images"].shape[0])

    def outputs(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Return what the network gives for `images` (uint8 N3HW), in float32; colours vary while it trains."""
        self._colour.to(device).train(module.training)
        outputs: Tensor = module(self._colour(batch["images"].to(device, non_blocking=True))).float()
        return outputs

    def targets(self, batch: Batch, device: torch.device) -> Tensor:
        """Return what is right, on the device."""
        targets: Tensor = batch[self.target].to(device, non_blocking=True)
        return targets

    def run(self, module: nn.Module, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the outputs, and what is right."""
        targets = self.targets(batch, device)
        return self.outputs(module, batch, device), targets


class ClassificationObjective(ImageObjective):
    """Cross-entropy on images; the score is the accuracy."""

    score_name, target = "accuracy", "labels"

    def __init__(self, colour: DeviceColour, *, label_smoothing: float = 0.0) -> None:
        super().__init__(colour)
        self._label_smoothing = label_smoothing

    def loss_sum(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Return the summed cross-entropy of `images` (uint8 N3HW) against `labels` (int64 N)."""
        logits, labels = self.run(module, batch, device)
        return functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=self._label_smoothing)

    @torch.no_grad()
    def evaluate(self, module: nn.Module, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
        """Return mean loss and accuracy, without augmentation."""
        module.eval()
        sums = ClassSums(device)
        for batch in batches:
            sums.add(*self.run(module, batch, device))
        return sums.figures()
