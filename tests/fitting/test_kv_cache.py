"""Keys and values by the closed form are those that transformers' own cache holds."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from eightgig.fitting.kv_cache import kv_layers

SAMPLES, TOKENS = 2, 20
TINY = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LATENT = {
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "q_lora_rank": 16,
    "n_routed_experts": 4,
    "first_k_dense_replace": 4,
    "num_key_value_heads": 4,
    "n_group": 1,
    "topk_group": 1,
}
NETWORKS = {
    "llama": {"num_key_value_heads": 2},
    "gpt2": {},
    "gpt_neox": {},
    "falcon": {},  # one head of keys for all
    "gemma2": {"num_key_value_heads": 2, "head_dim": 32, "sliding_window": 8},  # every other layer slides
    "gemma3_text": {"num_key_value_heads": 1, "head_dim": 32, "sliding_window": 8, "num_hidden_layers": 6},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 8},
    "deepseek_v3": {**LATENT, "num_experts_per_tok": 2},
    "lfm2": {"num_key_value_heads": 2},
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_closed_form_is_what_the_cache_holds(kind):
    settings: Any = {**TINY, **NETWORKS[kind]}
    config = CONFIG_MAPPING[kind](**settings)
    network = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        made = network(input_ids=torch.ones(SAMPLES, TOKENS, dtype=torch.long), use_cache=True)
    held = [layer for layer in made.past_key_values.layers if getattr(layer, "keys", None) is not None]
    values = sum(layer.keys.numel() + layer.values.numel() for layer in held)
    assert values > 0
    assert SAMPLES * sum(layers.values_of(TOKENS) for layers in kv_layers(config)) == values


def test_layers_with_a_state_of_their_own_keep_nothing_of_each_token():
    settings: Any = {**TINY, "num_key_value_heads": 2, "head_dim": 16}
    config = CONFIG_MAPPING["qwen3_next"](**settings)
    (layers,) = kv_layers(config)
    assert (layers.count, layers.values, layers.window) == (1, 2 * 2 * 16, None)
