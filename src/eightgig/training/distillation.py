"""Knowledge distillation: a network learns from another's probabilities, beside the labels."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from eightgig.training.objective import Batch, Objective
from eightgig.vram.plan import Precision
from eightgig.vram.runtime.autocast import HALF

SoftLoss = Callable[..., Tensor]
"""(student's output, teacher's output, *, temperature) -> a scalar, summed over the samples."""


class DistillationObjective:
    """Another objective's loss, and how far the student's softened probabilities are from the teacher's.

    loss = alpha T^2 KL(teacher / T || student / T) + (1 - alpha) hard loss, each summed over the samples. T^2 keeps the
    two parts' gradients in proportion whatever the temperature. Both networks see the very same augmented batch: a
    teacher that saw another crop would teach the answer to another image.

    Args:
        hard: the task's own objective; it also evaluates, without the teacher.
        teacher: is frozen and put in evaluation mode; moved to the batches' device at the first loss.
        temperature: above 0.
        alpha: 0 (labels alone) to 1 (teacher alone).
        soft_loss: how far two networks' outputs are apart, summed over the samples; None compares logits_NK.
        precision: that the teacher computes in. Only the student's forward pass is under training's own autocast.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv 1503.02531; for the same view: Beyer et
    al., "Knowledge distillation: A good teacher is patient and consistent", arXiv 2106.05237.
    """

    def __init__(
        self,
        hard: Objective,
        teacher: nn.Module,
        *,
        temperature: float,
        alpha: float,
        precision: Precision = "fp32",
        soft_loss: SoftLoss | None = None,
    ) -> None:
        self.score_name = hard.score_name
        self._soft_loss = soft_loss or soft_loss_sum
        self._hard, self._teacher = hard, teacher.eval().requires_grad_(False)
        self._temperature, self._alpha, self._precision = temperature, alpha, precision

    def count(self, batch: Batch) -> int:
        """Return the number of samples."""
        return self._hard.count(batch)

    def loss_sum(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Return the summed loss of the student `module`."""
        with _watched(module) as seen:
            hard_loss = self._hard.loss_sum(module, batch, device)
        inputs, logits = seen[-1]
        soft_loss = self._soft_loss(logits, self._taught(inputs), temperature=self._temperature)
        return self._alpha * soft_loss + (1 - self._alpha) * hard_loss

    def evaluate(self, module: nn.Module, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
        """Return what the task's own objective gives."""
        return self._hard.evaluate(module, batches, device)

    @torch.no_grad()
    def _taught(self, inputs: tuple[Any, ...]) -> Any:
        device = inputs[0].device
        if next(self._teacher.parameters()).device.type != device.type:
            self._teacher.to(device)
        with _autocast(device, self._precision):
            return self._teacher(*inputs)


def soft_loss_sum(student_NK: Tensor, teacher_NK: Tensor, *, temperature: float) -> Tensor:
    """Return T^2 KL(teacher / T || student / T) of two networks' logits, in float32, summed over the samples."""
    student = functional.log_softmax(student_NK.float() / temperature, dim=1)
    teacher = functional.log_softmax(teacher_NK.float() / temperature, dim=1)
    return temperature**2 * functional.kl_div(student, teacher, reduction="sum", log_target=True)


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[tuple[tuple[Any, ...], Any]]]:
    """Note what enters and leaves the student while the task's own loss runs it."""
    seen: list[tuple[tuple[Any, ...], Any]] = []
    handle = module.register_forward_hook(lambda _, inputs, output: seen.append((inputs, output)))
    try:
        yield seen
    finally:
        handle.remove()


def _autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    half = HALF.get(precision)
    return nullcontext() if half is None else torch.autocast(device.type, dtype=half)
