"""What a training loop needs to know of a language model: its loss, and how well it predicts bytes."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from eightgig.training.objective import Batch, JudgedByBatch, total

_TOKENS_AT_A_TIME = 256


class JudgedTokens(NamedTuple):
    """What a batch adds: nats (float64), tokens that were guessed right, tokens, and bytes of the text."""

    nats: Tensor
    found: Tensor
    tokens: int
    num_bytes: float


class CausalObjective(JudgedByBatch):
    """Cross-entropy of the next token; the score is the share of tokens that are guessed right.

    Args:
        num_bytes: of the text that each sample of the store predicts; None leaves bits per byte out.
    """

    score_name = "next-token accuracy"

    def __init__(self, num_bytes: NDArray[np.int64] | None = None) -> None:
        self._num_bytes = num_bytes

    def count(self, batch: Batch) -> int:
        """Return the number of blocks."""
        return int(batch["input_ids"].shape[0])

    def loss_sum(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Return the sum over blocks (int64 N(T+1)) of the mean cross-entropy of their tokens, in nats."""
        logits_NTV, targets_NT = next_token_logits(module, batch, device)
        return nats_sum(logits_NTV, targets_NT) / targets_NT.shape[1]

    def judge(self, module: nn.Module, batch: Batch, device: torch.device) -> JudgedTokens:
        """Judge a batch."""
        logits_NTV, targets_NT = next_token_logits(module, batch, device)
        num_bytes = 0.0 if self._num_bytes is None else float(self._num_bytes[batch["indices"].numpy()].sum())
        return JudgedTokens(
            nats_sum(logits_NTV, targets_NT).double(),
            (logits_NTV.argmax(-1) == targets_NT).sum(),
            targets_NT.numel(),
            num_bytes,
        )

    def figures(self, judged: Sequence[JudgedTokens]) -> dict[str, float]:
        """Return the mean loss a token in nats, perplexity, next-token accuracy and bits per byte."""
        loss = total(batch.nats for batch in judged).item()
        right = total(batch.found for batch in judged).item()
        tokens = sum(batch.tokens for batch in judged)
        num_bytes = sum(batch.num_bytes for batch in judged)
        figures = {"loss": loss / tokens, "score": right / tokens, "perplexity": math.exp(min(loss / tokens, 700.0))}
        return figures | ({"bits_per_byte": bits_per_byte(loss, num_bytes)} if num_bytes else {})


def next_token_logits(module: nn.Module, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return logits_NTV for all tokens of the blocks but the last, and the tokens that follow them."""
    ids: Tensor = batch["input_ids"].to(device, non_blocking=True)
    given: Any = module(input_ids=ids[:, :-1])
    return given.logits, ids[:, 1:]


def nats_sum(logits_NTV: Tensor, targets_NT: Tensor) -> Tensor:
    """Return the summed cross-entropy in float32, some tokens at a time.

    In float32 the logits of GPT-2's vocabulary take 0.2 GiB for 1,024 tokens, and cross-entropy and its gradient as
    much again each: they are made anew for the backward pass instead of kept.
    """
    parts = zip(
        logits_NTV.flatten(0, 1).split(_TOKENS_AT_A_TIME), targets_NT.flatten().split(_TOKENS_AT_A_TIME), strict=True
    )
    if not torch.is_grad_enabled():
        return torch.stack([_nats(*part) for part in parts]).sum()
    kept = [checkpoint(_nats, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    return torch.stack(kept).sum()


def _nats(logits_MV: Tensor, targets_M: Tensor) -> Tensor:
    return functional.cross_entropy(logits_MV.float(), targets_M, reduction="sum")


def bits_per_byte(nats: float, num_bytes: float) -> float:
    """Return bits per byte of text: unlike perplexity, it compares networks with different tokenizers."""
    return nats / math.log(2) / num_bytes
