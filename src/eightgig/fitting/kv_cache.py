"""Keys and values that a network keeps while it writes, by a closed form: 2 x layers x heads x width x tokens x bytes.

Which layers keep all tokens, a window or none is transformers' own rule, asked of its cache; what a token takes follows
from the configuration: grouped heads, widths of their own, latent attention.
tests/fitting/test_kv_cache.py holds this against the tensors of transformers' DynamicCache.
"""

from collections import Counter
from typing import Any

from eightgig.core.records import Record


class KvLayers(Record):
    """Layers that keep alike.

    Attributes:
        count: of them.
        values: that one token adds in one layer, keys and values together.
        window: tokens that are kept at most between two, one fewer than the window of the attention; None keeps all.
    """

    count: int
    values: int
    window: int | None = None

    def values_of(self, tokens: int) -> int:
        """Return what all of them keep of so many tokens."""
        return self.count * self.values * (tokens if self.window is None else min(tokens, self.window))


def kv_layers(config: Any) -> tuple[KvLayers, ...]:
    """Return the layers of a network of transformers by what they keep of each token; none of what keeps nothing."""
    from transformers import DynamicCache

    text = config.get_text_config(decoder=True)
    each: tuple[Any, ...] = tuple(getattr(text, "per_layer_config", None) or [text] * text.num_hidden_layers)
    cache: Any = DynamicCache(config=config)
    kept = Counter(
        (_values_of(layer_config), _window_of(layer))
        for layer, layer_config in zip(cache.layers, each, strict=True)
        if hasattr(layer, "keys") and _keeps_tokens(layer)
    )
    return tuple(KvLayers(count=count, values=values, window=window) for (values, window), count in kept.items())


def _keeps_tokens(layer: Any) -> bool:
    """Return whether a layer of the cache grows with tokens: those of linear attention and Mamba keep one state."""
    from transformers.cache_utils import DynamicLayer

    return isinstance(layer, DynamicLayer)


def _window_of(layer: Any) -> int | None:
    window = getattr(layer, "sliding_window", None)
    return None if window is None else int(window) - 1


def _values_of(config: Any) -> int:
    heads = config.num_attention_heads
    grouped = getattr(config, "num_key_value_heads", None) or heads
    if getattr(config, "multi_query", False) and not hasattr(config, "new_decoder_architecture"):
        grouped = 1  # GPTBigCode's one head for all; Falcon says the same by num_kv_heads
    grouped = _falcon_heads(config) or grouped
    if getattr(config, "kv_lora_rank", None) and getattr(config, "qk_rope_head_dim", None):
        return int(config.kv_lora_rank + config.qk_rope_head_dim)
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return int(2 * grouped * width)


def _falcon_heads(config: Any) -> int | None:
    if not hasattr(config, "new_decoder_architecture"):
        return None
    if config.new_decoder_architecture:
        return int(config.num_kv_heads)
    return 1 if config.multi_query else int(config.num_attention_heads)
