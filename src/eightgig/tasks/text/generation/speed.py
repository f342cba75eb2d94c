"""Tokens a second and memory while a network writes, with the cache and without, in turn."""

import statistics
import time
from typing import Any

import torch
from torch import nn

from eightgig.tasks.text.generation.loop import generate
from eightgig.tasks.text.generation.parameters import GenerateParameters
from eightgig.tasks.text.generation.precision import precision_of
from eightgig.tasks.text.generation.records import GenerationSpeed


def compare_cache(
    module: nn.Module, *, config: Any, tokens: int, prompt_tokens: int = 16, batch: int = 1, runs: int = 3
) -> tuple[GenerationSpeed, GenerationSpeed]:
    """Return the speed with the cache and without it, measured in turn.

    Args:
        module: a causal language model of transformers, where it shall run.
        config: its configuration.
        tokens: to write.
        prompt_tokens: to begin with.
        batch: texts side by side.
        runs: of each.
    """
    times: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    peaks: dict[bool, int | None] = {}
    for _ in range(runs):
        for cache, taken in times.items():
            seconds, peak = _run(module, cache, tokens, prompt_tokens, batch)
            taken.append((seconds, _run(module, cache, 1, prompt_tokens, batch)[0]))
            peaks[cache] = max(peak, peaks.get(cache) or 0) if peak is not None else None
    weight = next(module.parameters())

    def speed(cache: bool) -> GenerationSpeed:
        seconds = statistics.median(whole for whole, _ in times[cache])
        held = kv_cache_bytes(
            config, batch=batch, tokens=prompt_tokens + tokens - 1, element_bytes=weight.element_size()
        )
        return GenerationSpeed(
            cache=cache,
            batch=batch,
            tokens=tokens,
            seconds=seconds,
            tokens_per_second=batch * tokens / seconds,
            first_token_ms=1000 * statistics.median(first for _, first in times[cache]),
            kv_cache_bytes=held if cache else 0,
            peak_bytes=peaks[cache],
            device=str(weight.device),
            precision=precision_of(weight.dtype),
        )

    return speed(True), speed(False)


def _run(module: nn.Module, cache: bool, tokens: int, prompt_tokens: int, batch: int) -> tuple[float, int | None]:
    device = next(module.parameters()).device
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    parameters = GenerateParameters(method="greedy", max_new_tokens=tokens, cache=cache)
    begun = time.perf_counter()
    prompts = [[1] * prompt_tokens] * batch
    generate(module, prompts, parameters, eos_id=None, max_context=prompt_tokens + tokens)
    if on_gpu:
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun, torch.cuda.max_memory_allocated(device) if on_gpu else None


def kv_cache_bytes(config: Any, *, batch: int, tokens: int, element_bytes: int) -> int:
    """Return the bytes of the keys and values of `tokens` tokens in each of `batch` texts.

    Args:
        config: of transformers; with grouped queries only as many heads have keys as it says.
        batch: texts side by side.
        tokens: of each, the prompt included.
        element_bytes: 2 in half precision, 4 in float32.
    """
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * tokens * batch * element_bytes)
