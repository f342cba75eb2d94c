"""Texts behind prompts: tokenized, written, and put together again."""

import time
from collections.abc import Callable, Sequence

from tokenizers import Tokenizer
from torch import nn

from eightgig.tasks.text.generation.loop import generate
from eightgig.tasks.text.generation.parameters import GenerateParameters
from eightgig.tasks.text.generation.precision import precision_of
from eightgig.tasks.text.generation.records import Written, WrittenTexts
from eightgig.tasks.text.generation.texts import TextStream


def write_texts(
    module: nn.Module,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    parameters: GenerateParameters,
    *,
    eos_id: int | None,
    max_context: int,
    sink: Callable[[str], object] | None = None,
) -> WrittenTexts:
    """Return what the network writes behind each prompt.

    Args:
        module: a causal language model of transformers.
        tokenizer: its own.
        prompts: texts.
        parameters: how.
        eos_id: the token that ends a text.
        max_context: tokens that the network can look at.
        sink: is given the first text as it grows.

    Raises:
        ConfigurationError: as `eightgig.tasks.text.generation.loop.generate`.
    """
    streams = [TextStream(tokenizer, parameters.stop) for _ in prompts]
    tell = sink or (lambda _: None)

    def on_tokens(tokens: Sequence[int | None]) -> list[bool]:
        for number, (stream, token) in enumerate(zip(streams, tokens, strict=True)):
            fresh = stream.add(token) if token is not None else ""
            if number == 0 and fresh:
                tell(fresh)
        return [stream.stopped for stream in streams]

    ids = [tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
    begun = time.perf_counter()
    made = generate(module, ids, parameters, eos_id=eos_id, max_context=max_context, on_tokens=on_tokens)
    seconds = time.perf_counter() - begun
    tell(streams[0].close())
    texts = tuple(
        Written(prompt=prompt, text=stream.text, num_tokens=len(tokens), finish_reason=reason)
        for prompt, stream, tokens, reason in zip(prompts, streams, made.ids, made.finish_reasons, strict=True)
    )
    return WrittenTexts(
        texts=texts,
        seconds=seconds,
        tokens_per_second=sum(map(len, made.ids)) / seconds,
        precision=precision_of(next(module.parameters()).dtype),
    )
