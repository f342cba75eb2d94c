"""What a training loop needs to know of a task: how a batch reaches the device, its loss, and how good a model is."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar, NamedTuple, Protocol

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


class JudgedByBatch:
    """An objective that judges a batch by itself, so that several processes can share a validation out.

    One that cannot is an `Objective` all the same: each process then judges all batches.
    """

    def judge(self, module: nn.Module, batch: Batch, device: torch.device) -> Any:
        """Return what one batch adds to the figures: tensors stay on the device, for to read one is to wait for it."""
        raise NotImplementedError

    def figures(self, judged: Sequence[Any]) -> dict[str, float]:
        """Return the mean `loss`, the `score` and more, of what `judge` gave for all batches in their order."""
        raise NotImplementedError

    @torch.no_grad()
    def evaluate(self, module: nn.Module, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
        """Return the figures of all batches."""
        module.eval()
        return self.figures([self.judge(module, batch, device) for batch in batches])


def is_judged_by_batch(objective: Objective) -> bool:
    """Tell whether several processes can share out what an objective judges: not where it has its own `evaluate`."""
    return getattr(objective.evaluate, "__func__", None) is JudgedByBatch.evaluate


class JudgedClasses(NamedTuple):
    """What a batch of classes adds: its summed loss (float64), right answers, and samples."""

    loss: Tensor
    correct: Tensor
    num_samples: int

    @classmethod
    def of(cls, logits_NK: Tensor, labels_N: Tensor) -> "JudgedClasses":
        """Judge a batch."""
        loss = functional.cross_entropy(logits_NK, labels_N, reduction="sum").double()
        return cls(loss, (logits_NK.argmax(1) == labels_N).sum(), len(labels_N))

    @staticmethod
    def figures(judged: "Sequence[JudgedClasses]") -> dict[str, float]:
        """Return the mean loss, and the accuracy, which is the score."""
        count = sum(batch.num_samples for batch in judged)
        accuracy = total(batch.correct for batch in judged).item() / count
        return {"loss": total(batch.loss for batch in judged).item() / count, "score": accuracy, "accuracy": accuracy}


def total(tensors: Iterable[Tensor]) -> Tensor:
    """Return the sum, added up one after the other."""
    return reduce(torch.add, tensors)


class ImageObjective(JudgedByBatch):
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

    def judge(self, module: nn.Module, batch: Batch, device: torch.device) -> JudgedClasses:
        """Judge a batch, without augmentation."""
        return JudgedClasses.of(*self.run(module, batch, device))

    def figures(self, judged: Sequence[JudgedClasses]) -> dict[str, float]:
        """Return mean loss and accuracy."""
        return JudgedClasses.figures(judged)
