"""Networks that name no padding token: texts of several lengths in one batch mean what each means by itself."""

import json

import pytest
import torch

from eightgig.core.errors import ConfigurationError
from eightgig.data.store.tokenizers import separator_of, train_bpe
from eightgig.models.parameters import TextModelParameters
from eightgig.tasks.text.classification.task import tokens_of
from eightgig.tasks.text.model import Logits, build_text_network
from eightgig.tasks.text.special_tokens import end_of_text_id, padding_of
from eightgig.tasks.text.task import cutting, filling_up, padding_in

TOKENIZER = train_bpe(["a small text, and another of more words"], vocab_size=300)
_SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 300}
_LLAMA = {"model_type": "llama", "intermediate_size": 32, **_SIZES}
CONFIGS = {
    "gpt2": ({"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 300, "eos_token_id": 0}, 0),
    "gpt2 with padding": (
        {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 300, "pad_token_id": 7}, 7,
    ),
    "llama": ({**_LLAMA, "eos_token_id": 2}, 2),
    "llama 3": ({**_LLAMA, "eos_token_id": [5, 6]}, 5),
    "opt": ({"model_type": "opt", "ffn_dim": 32, "word_embed_proj_dim": 16, "pad_token_id": 1, **_SIZES}, 1),
    "bert": ({"model_type": "bert", "intermediate_size": 32, **_SIZES}, 0),
}  # fmt: skip


def parameters(config, tokenizer=None):
    return TextModelParameters(name="tiny", weights="none", max_tokens=32, config=config, tokenizer=tokenizer)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_text_means_the_same_beside_a_longer_one(kind, tmp_path):
    config, token = CONFIGS[kind]
    (tmp_path / "tokenizer.json").write_text(TOKENIZER)
    model = parameters(config, str(tmp_path))
    torch.manual_seed(0)
    network = build_text_network(model, "sequence_classification", num_outputs=2)
    assert json.loads(network.config)["pad_token_id"] == token
    tokenizer = filling_up(cutting(TOKENIZER, model), model)
    assert padding_in(tokenizer) == token
    module, texts = Logits(network.module.eval()), ["a text", "a small text, and another of more words", "more"]
    together = tokens_of(texts, tokenizer)
    assert together["input_ids"][2, -1] == token
    with torch.no_grad():
        batch = module(*together.values())
        alone = torch.cat([module(*tokens_of([text], tokenizer).values()) for text in texts])
    torch.testing.assert_close(batch, alone, rtol=1e-4, atol=1e-5)


def test_a_tokenizer_without_any_is_told_with_the_setting(tmp_path):
    values = json.loads(TOKENIZER) | {"added_tokens": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    config = {**CONFIGS["gpt2"][0], "eos_token_id": None, "bos_token_id": None}
    with pytest.raises(ConfigurationError, match=r"has no padding token, .* Set model\.config to {pad_token_id: N}"):
        padding_of(parameters(config, str(tmp_path)))
    assert padding_of(parameters(config | {"pad_token_id": 9}, str(tmp_path))) == 9


def test_the_tokenizers_own_token_is_taken_where_the_configuration_has_none(tmp_path):
    (tmp_path / "tokenizer.json").write_text(TOKENIZER)
    config = {**CONFIGS["gpt2"][0], "eos_token_id": None, "bos_token_id": None}
    assert padding_of(parameters(config, str(tmp_path))) == 0  # <|endoftext|>


def test_a_store_of_before_is_filled_up_with_berts_token():
    assert padding_in(TOKENIZER) == 0


def test_the_networks_own_end_of_a_text_stands_between_documents():
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({"a": 0, "<over>": 1, "b": 2}, unk_token="a"))  # noqa: S106
    with pytest.raises(ConfigurationError, match=r"name the token by model\.config: {eos_token_id: N}"):
        separator_of(tokenizer)
    assert separator_of(tokenizer, end_of_text_id(parameters({"eos_token_id": 1}))) == 1
    assert end_of_text_id(parameters({"eos_token_id": [2, 1]})) == 2
    assert end_of_text_id(parameters({})) is None
