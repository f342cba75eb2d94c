"""A case study whose second process runs out of memory with more than two samples."""

import os
from typing import Any

import torch

from eightgig.tasks.text.classification.task import SentimentClassifier


class ShortSentimentClassifier(SentimentClassifier):
    """As the sentiment classifier, on a card that is too small in one of the machines."""

    def objective(self, network: Any, train: Any) -> Any:
        made = super().objective(network, train)
        loss_sum = made.loss_sum

        def short(module: Any, batch: Any, device: torch.device) -> torch.Tensor:
            if os.environ.get("RANK") == "1" and len(batch["labels"]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
            return loss_sum(module, batch, device)

        made.loss_sum = short
        return made
