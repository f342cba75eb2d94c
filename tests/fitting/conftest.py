"""Configurations of small networks of transformers, as folders that can be asked for."""

import json

import pytest

SMALL = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 512,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


@pytest.fixture
def network_folder(tmp_path):
    """Returns a folder with the configuration of a small network, some of it otherwise."""

    def made(name="small", **otherwise):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**SMALL, **otherwise}), encoding="utf-8")
        return folder

    return made
