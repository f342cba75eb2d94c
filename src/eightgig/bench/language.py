"""How well a language model predicts text that it never saw."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from eightgig.bench.language_records import LanguageReport
from eightgig.core.errors import DataError
from eightgig.export.runners import Arrays
from eightgig.export.task import Comparison
from eightgig.training.language import bits_per_byte, next_token_logits
from eightgig.training.objective import Batch


@torch.no_grad()
def evaluate_language(
    module: nn.Module,
    batches: Iterable[Batch],
    *,
    num_bytes: NDArray[np.int64],
    documents: Sequence[str],
    device: torch.device,
) -> LanguageReport:
    """Give how well the network predicts the blocks.

    Args:
        module: of transformers, on `device`.
        batches: `input_ids` (int64 N(T+1)) and `indices` (int64 N).
        num_bytes: that each block of the store predicts, by its index.
        documents: where each block of the store begins.
        device: where the network is.

    Raises:
        DataError: there is no block.
    """
    module.eval()
    nats: dict[str, float] = defaultdict(float)
    letters: dict[str, int] = defaultdict(int)
    blocks = tokens = right = 0
    for batch in batches:
        logits_NTV, targets_NT = next_token_logits(module, batch, device)
        losses_NT = functional.cross_entropy(logits_NTV.float().transpose(1, 2), targets_NT, reduction="none")
        right += int((logits_NTV.argmax(-1) == targets_NT).sum())
        blocks, tokens = blocks + len(targets_NT), tokens + targets_NT.numel()
        for index, loss in zip(batch["indices"].tolist(), losses_NT.double().sum(1).tolist(), strict=True):
            nats[documents[index]] += loss
            letters[documents[index]] += int(num_bytes[index])
    if not blocks:
        raise DataError("evaluation wants one block of held-out text or more, found none")
    total, size = sum(nats.values()), sum(letters.values())
    return LanguageReport(
        num_blocks=blocks,
        num_tokens=tokens,
        num_bytes=size,
        loss=total / tokens,
        perplexity=math.exp(min(total / tokens, 700.0)),
        bits_per_byte=bits_per_byte(total, size),
        next_token_accuracy=right / tokens,
        bits_per_byte_by_document={name: bits_per_byte(nats[name], letters[name]) for name in nats if letters[name]},
    )


class LanguageTask:
    """The next token at each place of a block; a task of `eightgig.export.task.Task`.

    An answer holds the likeliest tokens_T and all probabilities_TV (float32); a truth the tokens_T that follow.
    """

    output = "logits"
    score_name = "next-token accuracy"

    def answers(self, outputs: Arrays) -> list[NDArray[np.float32]]:
        """Give the probabilities_TV of each block of logits_NTV."""
        logits_NTV = np.asarray(outputs[self.output], dtype=np.float32)
        powers = np.exp(logits_NTV - logits_NTV.max(-1, keepdims=True))
        return list(powers / powers.sum(-1, keepdims=True))

    def quality(self, answers: Sequence[NDArray[np.float32]], truths: Sequence[NDArray[np.int64]]) -> dict[str, float]:
        """Give the share of tokens that were the likeliest, and the mean probability of the right one."""
        right = np.concatenate([answer.argmax(-1) == truth for answer, truth in zip(answers, truths, strict=True)])
        sure = [answer[np.arange(len(truth)), truth] for answer, truth in zip(answers, truths, strict=True)]
        return {self.score_name: float(right.mean()), "mean_probability": float(np.concatenate(sure).mean())}

    def compare(self, reference: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]]) -> Comparison:
        """Give the largest difference of any probability, and the share of places with the same likeliest token."""
        pairs = list(zip(reference, found, strict=True))
        return Comparison(
            difference=max(float(np.abs(wanted - other).max()) for wanted, other in pairs),
            agreement=float(np.mean([(wanted.argmax(-1) == other.argmax(-1)).mean() for wanted, other in pairs])),
        )
