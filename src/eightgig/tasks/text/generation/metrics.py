"""How well a language model predicts text that it never saw."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eightgig.core.errors import DataError
from eightgig.export.evaluator import Comparer, Comparison, Judge
from eightgig.export.runners import Arrays
from eightgig.tasks.text.generation.objective import bits_per_byte, next_token_logits
from eightgig.tasks.text.generation.records import LanguageReport
from eightgig.training.objective import Batch

# As in training: in float32 the logits of GPT-2's vocabulary take 0.2 GiB for 1,024 tokens, and their logarithms again.
_TOKENS_AT_A_TIME = 256


class Told(NamedTuple):
    """What a network says of N blocks.

    Attributes:
        nats_N: cross-entropy of each block's tokens together, float64.
        num_right: tokens that were the likeliest.
        num_tokens: in all of them.
    """

    nats_N: Tensor
    num_right: int
    num_tokens: int


Telling = Callable[[Batch], Told]


def evaluate_language(
    module: nn.Module,
    batches: Iterable[Batch],
    *,
    num_bytes: NDArray[np.int64],
    documents: Sequence[str],
    device: torch.device,
    ask: Callable[[Telling, Batch], Iterable[Told]] = lambda tell, batch: [tell(batch)],
) -> LanguageReport:
    """Return how well the network predicts the blocks.

    Args:
        module: of transformers, on `device`.
        batches: `input_ids` (int64 N(T+1)) and `indices` (int64 N).
        num_bytes: that each block of the store predicts, by its index.
        documents: where each block of the store begins.
        device: where the network is.
        ask: calls a function with a batch, or with pieces of it in their order where memory is short.

    Raises:
        DataError: there is no block.
    """
    module.eval()
    nats: dict[str, float] = defaultdict(float)
    letters: dict[str, int] = defaultdict(int)
    blocks = tokens = right = 0
    for batch in batches:
        told = list(ask(lambda piece: tell(module, piece, device), batch))
        losses = [loss for piece in told for loss in piece.nats_N.tolist()]
        right, tokens = right + sum(one.num_right for one in told), tokens + sum(one.num_tokens for one in told)
        blocks += len(losses)
        for index, loss in zip(batch["indices"].tolist(), losses, strict=True):
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


@torch.inference_mode()
def tell(module: nn.Module, batch: Batch, device: torch.device) -> Told:
    """Return what a network says of the blocks of a batch, its logits turned to float32 some tokens at a time."""
    logits_NTV, targets_NT = next_token_logits(module, batch, device)
    losses, right = list[Tensor](), torch.zeros((), dtype=torch.int64, device=device)
    parts = (logits_NTV.flatten(0, 1).split(_TOKENS_AT_A_TIME), targets_NT.flatten().split(_TOKENS_AT_A_TIME))
    for logits_MV, targets_M in zip(*parts, strict=True):
        losses.append(functional.cross_entropy(logits_MV.float(), targets_M, reduction="none"))
        right += (logits_MV.argmax(-1) == targets_M).sum()
    nats_N = torch.cat(losses).view(targets_NT.shape).double().sum(1)
    return Told(nats_N.cpu(), int(right), targets_NT.numel())


class LanguageEvaluator:
    """The next token at each place of a block; an `eightgig.export.evaluator.Evaluator`.

    An answer holds the likeliest tokens_T and all probabilities_TV (float32); a truth the tokens_T that follow. All
    answers to a benchmark would be gigabytes, so judge and comparer keep figures of a block each.
    """

    output = "logits"
    score_name = "next-token accuracy"

    def predictions(self, outputs: Arrays) -> list[NDArray[np.float32]]:
        """Return the probabilities_TV of each block of logits_NTV."""
        logits_NTV = np.asarray(outputs[self.output], dtype=np.float32)
        shares_NTV = logits_NTV - logits_NTV.max(-1, keepdims=True)
        np.exp(shares_NTV, out=shares_NTV)
        shares_NTV /= shares_NTV.sum(-1, keepdims=True)
        return list(shares_NTV)

    def judge(self) -> Judge:
        """Return what keeps the probability of the right token at each place."""
        return _TokenJudge()

    def comparer(self) -> Comparer:
        """Return what keeps the largest difference of any probability."""
        return _TokenComparer()

    def quality(
        self, predictions: Sequence[NDArray[np.float32]], targets: Sequence[NDArray[np.int64]]
    ) -> dict[str, float]:
        """Return the share of tokens that were the likeliest, and the mean probability of the right one."""
        judge = self.judge()
        judge.add(predictions, targets)
        return judge.quality()

    def compare(self, reference: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]]) -> Comparison:
        """Return the largest difference of any probability, and the share of places with the same likeliest token."""
        comparer = self.comparer()
        comparer.add(reference, found)
        return comparer.comparison()


class _TokenJudge:
    def __init__(self) -> None:
        self._right, self._sure = list[NDArray[np.bool_]](), list[NDArray[np.float32]]()

    def add(self, predictions: Sequence[NDArray[np.float32]], targets: Sequence[NDArray[np.int64]]) -> None:
        for shares_TV, truth_T in zip(predictions, targets, strict=True):
            self._right.append(shares_TV.argmax(-1) == truth_T)
            self._sure.append(shares_TV[np.arange(len(truth_T)), truth_T])

    def quality(self) -> dict[str, float]:
        right, sure = np.concatenate(self._right), np.concatenate(self._sure)
        return {LanguageEvaluator.score_name: float(right.mean()), "mean_probability": float(sure.mean())}


class _TokenComparer:
    def __init__(self) -> None:
        self._largest, self._agreements = 0.0, list[float]()

    def add(self, reference: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]]) -> None:
        for wanted_TV, other_TV in zip(reference, found, strict=True):
            apart_TV = wanted_TV - other_TV
            self._largest = max(self._largest, float(np.abs(apart_TV, out=apart_TV).max()))
            self._agreements.append(float((wanted_TV.argmax(-1) == other_TV.argmax(-1)).mean()))

    def comparison(self) -> Comparison:
        return Comparison(difference=self._largest, agreement=float(np.mean(self._agreements)))
