"""What keys and values of the text so far take."""

from typing import Any


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
