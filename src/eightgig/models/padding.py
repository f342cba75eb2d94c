"""The token that fills up texts in a batch: the network's own, or one that does no harm in its place."""

import json
from collections.abc import Callable
from typing import Any

# By the published tokenizers: BERT's, RoBERTa's and T5's, Llama 3's reserve; then tokens that end a text, as GPT-2,
# Llama, Mistral, Qwen and others have them, which never stand within one.
_NAMES = (
    "[PAD]", "<pad>", "<|pad|>", "<|finetune_right_pad_id|>", "<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>",
    "<|im_end|>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "[SEP]",
)  # fmt: skip


def padding_id(config: Any, tokenizer_json: Callable[[], str]) -> int | None:
    """Return the id of the token to fill up with: the configuration's, its end of text, or the tokenizer's.

    Args:
        config: of transformers.
        tokenizer_json: gives the text of a `tokenizer.json`; asked only where the configuration names no such token.
    """
    of_text = config.get_text_config()
    for name in ("pad_token_id", "eos_token_id"):
        found = getattr(of_text, name, None)
        found = found[0] if isinstance(found, list) and found else found  # Llama 3 has several ends
        if isinstance(found, int) and found >= 0:
            return found
    return _of_tokenizer(tokenizer_json())


def set_padding(config: Any, token: int | None) -> None:
    """Let a network know its padding: classifiers on decoders read the last token that is none."""
    if token is not None:
        config.pad_token_id = config.get_text_config().pad_token_id = token


def _of_tokenizer(tokenizer_json: str) -> int | None:
    values = json.loads(tokenizer_json)
    ids = {token["content"]: token["id"] for token in values.get("added_tokens") or []}
    return next((ids[name] for name in _NAMES if name in ids), None)
