"""Weights and configurations that somebody damaged: whatever the libraries make of them, the error is the project's."""

import json
import pickle
import tracemalloc

import pytest
import torch

from eightgig.core.errors import ConfigurationError, WeightsError
from eightgig.models.parameters import TextModelParameters
from eightgig.models.weights import read_state_dict
from eightgig.tasks.text.model import build_text_network, config_of, read_tokenizer


@pytest.fixture
def legacy(tmp_path):
    """A state dict as torch before 1.6 wrote it: pickles one after the other."""
    torch.save({"w": torch.zeros(2)}, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    return tmp_path / "w.pt"


def test_a_file_of_before_torch_1_6_is_read(legacy):
    assert read_state_dict(legacy)["w"].tolist() == [0, 0]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x02", b"\x80\x02.", pickle.dumps("\udc00" * 2, 2)[:-3], b"\x80\x02c\xff\n\n.", b"\x80\x02K", b"."],
)
def test_whatever_the_reader_of_pickles_raises(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.pt`: wanted a plain state dict, found a file that cannot be read"):
        read_state_dict(tmp_path / "w.pt")


def test_a_length_of_gigabytes_takes_no_memory(legacy):
    content = legacy.read_bytes()
    legacy.write_bytes(b"\x80\x02X" + (2**31 - 1).to_bytes(4, "little") + content)
    tracemalloc.start()
    with pytest.raises(WeightsError):
        read_state_dict(legacy)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10**7


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_card_without_a_configuration(text):
    with pytest.raises(WeightsError, match=r"(?s)wanted a configuration of transformers.*put the right card back"):
        config_of(text)


@pytest.mark.parametrize(
    "values", [{"model_type": "no such kind"}, {"model_type": ["gpt2"]}, {"model_type": "bert", "hidden_size": "wide"}]
)
def test_a_configuration_in_a_card_that_transformers_does_not_take(values):
    parameters = TextModelParameters(name="mine", weights="none", config=values)
    with pytest.raises(ConfigurationError, match=r"wanted the configuration of mine, found one that transformers"):
        build_text_network(parameters, "causal_lm", num_outputs=20)


@pytest.mark.parametrize(
    "content", [b"null", b"[]", b'"gpt2"', b'{"model_type": ["gpt2"]}', b"\xff", b"{", b"[" * 9999]
)
def test_a_configuration_in_a_folder_that_is_none(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"no folder with a config\.json"):
        build_text_network(TextModelParameters(name=str(tmp_path), weights="none"), "causal_lm", num_outputs=20)


def test_sizes_that_do_not_go_together(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_embd": 8, "n_head": 3}))
    with pytest.raises(
        ConfigurationError, match=r"no network can be built by the configuration of .*must be divisible"
    ):
        build_text_network(TextModelParameters(name=str(tmp_path), weights="none"), "causal_lm", num_outputs=20)


def test_a_tokenizer_that_is_no_text(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json cannot be read as text .*Name a folder or a tok"):
        read_tokenizer(TextModelParameters(tokenizer=str(tmp_path)))
