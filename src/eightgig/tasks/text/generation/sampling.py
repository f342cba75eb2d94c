"""The next token of each text, from its logits."""

import torch
from torch import Tensor

from eightgig.tasks.text.generation.parameters import GenerateParameters


def next_tokens(logits_NV: Tensor, parameters: GenerateParameters, generator: torch.Generator) -> Tensor:
    """Return a token per text (int64 N): the likeliest, or one drawn on the CPU, so that a seed means one text."""
    if parameters.method == "greedy":
        return logits_NV.argmax(-1)
    logits_NV = logits_NV.float() / parameters.temperature
    if parameters.top_k is not None:
        logits_NV = keep_top_k(logits_NV, parameters.top_k)
    if parameters.top_p is not None:
        logits_NV = keep_top_p(logits_NV, parameters.top_p)
    return torch.multinomial(logits_NV.softmax(-1).cpu(), 1, generator=generator).squeeze(1).to(logits_NV.device)


def keep_top_k(logits_NV: Tensor, k: int) -> Tensor:
    """Return the logits with all but the k largest of each row at minus infinity; of equal ones all are kept."""
    smallest_N1 = logits_NV.topk(min(k, logits_NV.shape[-1])).values[:, -1:]
    return logits_NV.masked_fill(logits_NV < smallest_N1, float("-inf"))


def keep_top_p(logits_NV: Tensor, p: float) -> Tensor:
    """Return the logits with all at minus infinity but the fewest of each row that together have the probability p.

    Nucleus sampling (Holtzman et al., arXiv 1904.09751); one token at least is kept.
    """
    sorted_NV, order_NV = logits_NV.sort(descending=True)
    before_NV = sorted_NV.softmax(-1).cumsum(-1) - sorted_NV.softmax(-1)
    dropped_NV = torch.zeros_like(before_NV, dtype=torch.bool).scatter(1, order_NV, before_NV >= p)
    return logits_NV.masked_fill(dropped_NV, float("-inf"))
