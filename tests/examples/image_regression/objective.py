"""Regression, as the training loop sees it: Huber's loss of standard scores; R² is the score, MAE is told beside."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from eightgig.core.device import to_device
from eightgig.data.images.transforms import DeviceColour
from eightgig.tasks.image_regression.evaluator import errors_of
from eightgig.training.objective import Batch, ImageObjective


class RegressionObjective(ImageObjective):
    """Batches hold `images` uint8 N3HW and `values` float32 N, of which `mean` and `std` make standard scores."""

    score_name, target = "R²", "values"

    def __init__(self, colour: DeviceColour, mean: Tensor, std: Tensor) -> None:
        super().__init__(colour)
        self._mean, self._std = mean, std

    def loss_sum(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Return the loss summed over the images."""
        return functional.smooth_l1_loss(*self.run(module, batch, device), reduction="sum")

    @torch.no_grad()
    def evaluate(self, module: nn.Module, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
        """Return the mean loss, R² and the mean absolute error in the numbers' unit."""
        module.eval()
        pairs = [self.run(module, batch, device) for batch in batches]
        found_N, wanted_N = (torch.cat(scores) for scores in zip(*pairs, strict=True))
        loss, errors = functional.smooth_l1_loss(found_N, wanted_N), errors_of(found_N.cpu(), wanted_N.cpu())
        return {"loss": loss.item(), "score": errors["r2"], "mae": errors["mae"] * float(self._std)}

    def run(self, module: nn.Module, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the standard scores that the network gives, and those that are right."""
        self._mean, self._std = to_device(self._mean, device), to_device(self._std, device)
        scores_N1, values_N = super().run(module, batch, device)
        return scores_N1[:, 0], (values_N - self._mean) / self._std


def soft_regression_loss_sum(student_N1: Tensor, teacher_N1: Tensor, *, temperature: float) -> Tensor:  # noqa: ARG001
    """Return how far a student's scores are from its teacher's; numbers have no temperature."""
    return functional.smooth_l1_loss(student_N1.float(), teacher_N1.float(), reduction="sum")
