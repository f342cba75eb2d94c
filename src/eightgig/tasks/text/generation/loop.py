"""Writing token by token: the choice of the next, several texts side by side, keys and values so far in a cache."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from eightgig.core.errors import ConfigurationError
from eightgig.tasks.text.generation.parameters import GenerateParameters

OnTokens = Callable[[Sequence[int | None]], Sequence[bool]]
"""Called with the new token of each text (None where it has ended); tells which texts are to end."""


@dataclass
class Generated:
    """What was written.

    Attributes:
        ids: new tokens of each text, without the one that ended it.
        finish_reasons: `stop` (the network or a stop string ended it) or `length`.
    """

    ids: list[list[int]] = field(default_factory=list)
    finish_reasons: list[str] = field(default_factory=list)


@torch.inference_mode()
def generate(
    module: nn.Module,
    prompts: Sequence[Sequence[int]],
    parameters: GenerateParameters,
    *,
    eos_id: int | None,
    max_context: int,
    on_tokens: OnTokens | None = None,
) -> Generated:
    """Return what the network writes behind each prompt.

    Args:
        module: a causal language model of transformers; the mode it is in is restored.
        prompts: token ids, of any lengths; padded on the left, where no text attends to the padding.
        parameters: how.
        eos_id: the token that ends a text; None lets texts go on to their full length.
        max_context: tokens that the network can look at; a text that reaches it ends.
        on_tokens: sees each new token, and may end texts.

    Raises:
        ConfigurationError: a prompt is empty, or leaves no room for a token.
    """
    _refuse_misfits(prompts, max_context)
    was_training = module.training
    module.eval()
    try:
        return _Writer(module, prompts, parameters, eos_id, max_context, on_tokens).run()
    finally:
        module.train(was_training)


class _Writer:
    def __init__(
        self,
        module: Any,
        prompts: Sequence[Sequence[int]],
        parameters: GenerateParameters,
        eos_id: int | None,
        max_context: int,
        on_tokens: OnTokens | None,
    ) -> None:
        from transformers import DynamicCache

        self._module, self._parameters, self._eos_id = module, parameters, eos_id
        self._on_tokens = on_tokens or (lambda tokens: [False] * len(tokens))
        self._generator = torch.Generator().manual_seed(parameters.seed)
        self._cache = DynamicCache() if parameters.cache else None
        device = next(module.parameters()).device
        self._ids_NT, self._mask_NT = _left_padded(prompts, device)
        self._room = min(parameters.max_new_tokens, *(max_context - len(prompt) for prompt in prompts))
        self._rooms = [min(parameters.max_new_tokens, max_context - len(prompt)) for prompt in prompts]
        self._reasons = ["" for _ in prompts]
        self._written: list[list[int]] = [[] for _ in prompts]

    def run(self) -> Generated:
        for _ in range(max(self._rooms)):
            tokens = next_tokens(self._logits(), self._parameters, self._generator)
            self._take(tokens)
            if all(self._reasons):
                break
        return Generated(self._written, [reason or "length" for reason in self._reasons])

    def _logits(self) -> Tensor:
        """Return logits_NV of the next token: of the last token alone where the cache has the others."""
        positions_NT = (self._mask_NT.cumsum(1) - 1).clamp(min=0)
        known = self._cache.get_seq_length() if self._cache is not None else 0
        given = self._module(
            input_ids=self._ids_NT[:, known:],
            attention_mask=self._mask_NT,
            position_ids=positions_NT[:, known:],
            past_key_values=self._cache,
            use_cache=self._cache is not None,
            logits_to_keep=1,
        )
        logits_NV: Tensor = given.logits[:, -1]
        return logits_NV

    def _take(self, tokens_N: Tensor) -> None:
        fresh: list[int | None] = []
        for row, token in enumerate(tokens_N.tolist()):
            if not self._reasons[row] and token == self._eos_id:
                self._reasons[row] = "stop"
            fresh.append(None if self._reasons[row] else token)
            if not self._reasons[row]:
                self._written[row].append(token)
        for row, ends in enumerate(self._on_tokens(fresh)):
            if not self._reasons[row] and (ends or len(self._written[row]) >= self._rooms[row]):
                self._reasons[row] = "stop" if ends else "length"
        # A text that has ended goes on as padding beside the others: nobody attends to it.
        alive_N = torch.tensor([not reason or fresh[row] is not None for row, reason in enumerate(self._reasons)])
        self._ids_NT = torch.cat([self._ids_NT, tokens_N[:, None]], 1)
        self._mask_NT = torch.cat([self._mask_NT, alive_N[:, None].to(self._mask_NT)], 1)


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(map(len, prompts))
    ids_NT = torch.zeros(len(prompts), width, dtype=torch.int64)
    mask_NT = torch.zeros_like(ids_NT)
    for row, prompt in enumerate(prompts):
        ids_NT[row, width - len(prompt) :] = torch.tensor(prompt)
        mask_NT[row, width - len(prompt) :] = 1
    return ids_NT.to(device), mask_NT.to(device)


def _refuse_misfits(prompts: Sequence[Sequence[int]], max_context: int) -> None:
    for prompt in prompts:
        if not prompt:
            raise ConfigurationError("generate.prompt: wanted a text, found none. Give at least one letter.")
        if len(prompt) >= max_context:
            raise ConfigurationError(
                f"generate.prompt: {len(prompt)} tokens leave no room: the network looks at {max_context} in all. "
                f"Give {max_context - 1} tokens or fewer."
            )


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
