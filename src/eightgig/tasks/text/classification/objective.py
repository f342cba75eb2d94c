"""What a training loop needs to know of texts in classes: their loss, and how many are right."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from eightgig.training.objective import Batch, JudgedByBatch, JudgedClasses


class SequenceObjective(JudgedByBatch):
    """Cross-entropy on texts; the score is the accuracy. Batches are as `eightgig.tasks.text.loader` gives them."""

    score_name = "accuracy"

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        self._label_smoothing = label_smoothing

    def count(self, batch: Batch) -> int:
        """Return the number of texts."""
        return int(batch["labels"].shape[0])

    def loss_sum(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Return the summed cross-entropy of `input_ids` (int64 NT) against `labels` (int64 N)."""
        logits_NK, labels_N = _run(module, batch, device)
        return functional.cross_entropy(logits_NK, labels_N, reduction="sum", label_smoothing=self._label_smoothing)

    def judge(self, module: nn.Module, batch: Batch, device: torch.device) -> JudgedClasses:
        """Judge a batch."""
        return JudgedClasses.of(*_run(module, batch, device))

    def figures(self, judged: Sequence[JudgedClasses]) -> dict[str, float]:
        """Return mean loss and accuracy."""
        return JudgedClasses.figures(judged)


def _run(module: nn.Module, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    inputs = {name: batch[name].to(device, non_blocking=True) for name in ("input_ids", "attention_mask")}
    logits_NK: Tensor = module(**inputs).logits
    return logits_NK.float(), batch["labels"].to(device, non_blocking=True)
