"""Regression, as the training loop sees it: Huber's loss of standard scores; R² is the score, MAE is told beside."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from eightgig.core.device import to_device
from eightgig.data.images.transforms import DeviceColour
from eightgig.training.objective import Batch, ImageObjective


class RegressionObjective(ImageObjective):
    """Batches hold `images` uint8 N3HW and `values` float32 N, of which `mean` and `std` make standard scores."""

    score_name = "R²"

    def __init__(self, colour: DeviceColour, mean: Tensor, std: Tensor) -> None:
        super().__init__(colour)
        self._mean, self._std = mean, std

    def loss_sum(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Return the loss summed over the images."""
        return functional.smooth_l1_loss(*self._run(module, batch, device), reduction="sum")

    @torch.no_grad()
    def evaluate(self, module: nn.Module, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
        """Return the mean loss, R² and the mean absolute error in the numbers' unit."""
        module.eval()
        pairs = [self._run(module, batch, device) for batch in batches]
        found_N, wanted_N = (torch.cat(scores) for scores in zip(*pairs, strict=True))
        found = quality(found_N.tolist(), wanted_N.tolist())
        loss = functional.smooth_l1_loss(found_N, wanted_N).item()
        return {"loss": loss, "score": found["R²"], "mae": found["mae"] * float(self._std)}

    def _run(self, module: nn.Module, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
        self._mean, self._std = to_device(self._mean, device), to_device(self._std, device)
        values_N = batch["values"].to(device, non_blocking=True)
        return self.outputs(module, batch, device)[:, 0], (values_N - self._mean) / self._std


def soft_regression_loss_sum(student_N1: Tensor, teacher_N1: Tensor, *, temperature: float) -> Tensor:  # noqa: ARG001
    """Return how far a student's scores are from its teacher's; numbers have no temperature."""
    return functional.smooth_l1_loss(student_N1.float(), teacher_N1.float(), reduction="sum")


def quality(predictions: npt.ArrayLike, targets: npt.ArrayLike) -> dict[str, float]:
    """Return R² (where all targets are equal 0, or 1 if they are met, as scikit-learn has it) and MAE."""
    found, wanted = np.asarray(predictions, np.float64), np.asarray(targets, np.float64)
    errors, spread = found - wanted, float(np.square(wanted - wanted.mean()).sum())
    squared = float(np.square(errors).sum())
    r2 = 1 - squared / spread if spread else float(not squared)
    return {"R²": r2, "mae": float(np.abs(errors).mean())}
