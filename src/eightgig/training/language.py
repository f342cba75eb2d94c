"""What a training loop needs to know of a language model: its loss, and how well it predicts bytes."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eightgig.training.objective import Batch


class CausalObjective:
    """Cross-entropy of the next token; the score is the share of tokens that are guessed right.

    Args:
        num_bytes: of the text that each sample of the store predicts; None leaves bits per byte out.
    """

    score_name = "next-token accuracy"

    def __init__(self, num_bytes: NDArray[np.int64] | None = None) -> None:
        self._num_bytes = num_bytes

    def count(self, batch: Batch) -> int:
        """Give the number of blocks."""
        return int(batch["input_ids"].shape[0])

    def loss_sum(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Give the sum over blocks (int64 N(T+1)) of the mean cross-entropy of their tokens, in nats."""
        logits_NTV, targets_NT = next_token_logits(module, batch, device)
        total = functional.cross_entropy(logits_NTV.flatten(0, 1).float(), targets_NT.flatten(), reduction="sum")
        return total / targets_NT.shape[1]

    @torch.no_grad()
    def evaluate(self, module: nn.Module, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
        """Give the mean loss a token in nats, perplexity, next-token accuracy and bits per byte."""
        module.eval()
        loss = right = tokens = num_bytes = 0.0
        for batch in batches:
            logits_NTV, targets_NT = next_token_logits(module, batch, device)
            flat = logits_NTV.flatten(0, 1).float()
            loss += functional.cross_entropy(flat, targets_NT.flatten(), reduction="sum").item()
            right += (logits_NTV.argmax(-1) == targets_NT).sum().item()
            tokens += targets_NT.numel()
            if self._num_bytes is not None:
                num_bytes += float(self._num_bytes[batch["indices"].numpy()].sum())
        figures = {"loss": loss / tokens, "score": right / tokens, "perplexity": math.exp(min(loss / tokens, 700.0))}
        return figures | ({"bits_per_byte": bits_per_byte(loss, num_bytes)} if num_bytes else {})


def next_token_logits(module: nn.Module, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give logits_NTV for all tokens of the blocks but the last, and the tokens that follow them."""
    ids: Tensor = batch["input_ids"].to(device, non_blocking=True)
    given: Any = module(input_ids=ids[:, :-1])
    return given.logits, ids[:, 1:]


def bits_per_byte(nats: float, num_bytes: float) -> float:
    """Give the bits that one byte of text costs: unlike perplexity, it compares networks with different tokenizers."""
    return nats / math.log(2) / num_bytes
