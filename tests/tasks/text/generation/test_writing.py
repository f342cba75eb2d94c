"""Writing: how tokens are chosen, with the cache and without, and text as it grows."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel, LlamaConfig

from eightgig.core.errors import ConfigurationError
from eightgig.data.store.tokenizers import train_bpe
from eightgig.tasks.text.generation.loop import generate, keep_top_k, keep_top_p, next_tokens
from eightgig.tasks.text.generation.parameters import GenerateParameters
from eightgig.tasks.text.generation.speed import compare_cache, kv_cache_bytes
from eightgig.tasks.text.generation.texts import TextStream
from eightgig.tasks.text.generation.writer import write_texts

GREEDY = GenerateParameters(method="greedy", max_new_tokens=24)
NEVER = float("-inf")
CONFIG = GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, vocab_size=300, bos_token_id=0, eos_token_id=0)
TOKENIZER = Tokenizer.from_str(train_bpe(["O Romeo, Romeo! wherefore art thou Romeo? — ay, naïve"] * 4, vocab_size=300))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    module = GPT2LMHeadModel(CONFIG)
    for weight in module.parameters():  # random weights write one token for ever; larger ones do not
        weight.data.mul_(6)
    return module.train()


def written(network, prompts, parameters=GREEDY, **options):
    return generate(network, prompts, parameters, eos_id=None, max_context=64, **options)


def test_top_k_keeps_the_largest():
    logits = torch.tensor([[1.0, 4.0, 3.0, 2.0]])
    assert keep_top_k(logits, 2).tolist() == [[NEVER, 4.0, 3.0, NEVER]]
    assert keep_top_k(logits, 9).tolist() == logits.tolist()


@pytest.mark.parametrize(
    ("p", "kept"), [(0.4, [1]), (0.5, [1]), (0.51, [1, 2]), (0.81, [1, 2, 3]), (1.0, [0, 1, 2, 3])]
)
def test_top_p_keeps_the_fewest_that_have_the_probability(p, kept):
    logits = torch.tensor([[0.05, 0.5, 0.3, 0.15]]).log()
    found = keep_top_p(logits, p)[0]
    assert [index for index in range(4) if found[index] > NEVER] == kept


def test_draws_follow_the_temperature_and_the_seed():
    logits = torch.tensor([[0.0, 1.0]]).repeat(4000, 1)

    def share(temperature, seed):
        parameters = GenerateParameters(temperature=temperature, top_k=None, top_p=None)
        return next_tokens(logits, parameters, torch.Generator().manual_seed(seed)).float().mean().item()

    assert share(1.0, 0) == pytest.approx(0.731, abs=0.03)  # 1 / (1 + exp(-1))
    assert share(0.5, 0) == pytest.approx(0.881, abs=0.03)  # 1 / (1 + exp(-2))
    assert share(1.0, 0) == share(1.0, 0) != share(1.0, 1)


def test_the_cache_changes_no_greedy_token(network):
    without = GREEDY.model_copy(update={"cache": False})
    prompts = [[5, 9, 200], [7], [3, 1, 4, 1, 5, 9, 2, 6]]
    together = written(network, prompts).ids
    assert written(network, prompts, without).ids == together
    assert [written(network, [prompt]).ids[0] for prompt in prompts] == together
    assert len(set(together[0])) > 3
    assert network.training


def test_it_writes_as_transformers_does(network):
    network.eval()
    wanted = network.generate(
        torch.tensor([[5, 9, 200]]),
        attention_mask=torch.ones(1, 3),
        max_new_tokens=24,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    network.train()
    assert written(network, [[5, 9, 200]]).ids == [wanted[0, 3:].tolist()]


def test_texts_end_at_their_end(network):
    whole = written(network, [[5, 9, 200], [7]]).ids
    eos = whole[0][5]
    ended = generate(network, [[5, 9, 200], [7]], GREEDY, eos_id=eos, max_context=64)
    assert ended.ids[0] == whole[0][: whole[0].index(eos)]
    assert ended.finish_reasons[0] == "stop"
    if eos not in whole[1]:
        assert ended.ids[1] == whole[1]  # the other goes on as if it were alone


def test_a_text_ends_where_the_network_sees_no_more(network):
    long = GREEDY.model_copy(update={"max_new_tokens": 500})
    made = written(network, [[1] * 60, [1] * 10], long)
    assert [len(ids) for ids in made.ids] == [4, 54]
    assert made.finish_reasons == ["length", "length"]


def test_prompts_that_are_none_are_refused(network):
    with pytest.raises(ConfigurationError, match=r"wanted a text, found none"):
        written(network, [[]])
    with pytest.raises(ConfigurationError, match=r"64 tokens leave no room: the network looks at 64 in all. Give 63"):
        written(network, [[1] * 64])


def test_the_cache_is_as_large_as_predicted(network):
    cache = DynamicCache()
    network(input_ids=torch.ones(2, 10, dtype=torch.int64), past_key_values=cache, use_cache=True)
    layers: list[Any] = cache.layers
    held = sum(part.numel() * 4 for layer in layers for part in (layer.keys, layer.values))
    assert kv_cache_bytes(CONFIG, batch=2, tokens=10, element_bytes=4) == held == 2 * 2 * 32 * 10 * 2 * 4


def test_grouped_queries_share_their_keys():
    config = LlamaConfig(hidden_size=64, num_attention_heads=8, num_key_value_heads=2, num_hidden_layers=3)
    assert kv_cache_bytes(config, batch=1, tokens=5, element_bytes=2) == 2 * 3 * 2 * 8 * 5 * 2


def test_speed_tells_both_ways(network):
    cached, plain = compare_cache(network, config=CONFIG, tokens=6, prompt_tokens=4, runs=1)
    assert (cached.cache, plain.cache) == (True, False)
    assert cached.kv_cache_bytes == kv_cache_bytes(CONFIG, batch=1, tokens=9, element_bytes=4)
    assert plain.kv_cache_bytes == 0
    assert cached.tokens_per_second == pytest.approx(6 / cached.seconds)
    assert cached.peak_bytes is None


@given(st.text(max_size=40))
def test_the_stream_is_the_text(text):
    ids = TOKENIZER.encode(text).ids
    stream = TextStream(TOKENIZER)
    parts = [stream.add(token) for token in ids]
    assert not any("�" in part for part in parts) or "�" in text
    assert "".join(parts) + stream.close() == TOKENIZER.decode(ids) == stream.text


@given(st.text(alphabet="abEND .", max_size=30))
def test_nothing_of_a_stop_string_is_shown(text):
    stream, shown = TextStream(TOKENIZER, ["END", "b b"]), ""
    for token in TOKENIZER.encode(text).ids:
        shown += stream.add(token)
        if stream.stopped:
            break
    shown += stream.close()
    wanted = text
    for stop in ("END", "b b"):
        wanted = wanted.split(stop)[0]
    assert shown == stream.text == wanted


def test_texts_are_written_and_streamed(network):
    shown = []
    parameters = GREEDY.model_copy(update={"max_new_tokens": 8})
    prompts = ["O Romeo", "ay, na"]
    made = write_texts(network, TOKENIZER, prompts, parameters, eos_id=None, max_context=64, sink=shown.append)
    assert "".join(shown) == made.texts[0].text
    assert [one.prompt for one in made.texts] == prompts
    assert [one.num_tokens for one in made.texts] == [8, 8]
    stop = made.texts[1].text[1:3]
    stopped = write_texts(
        network, TOKENIZER, prompts, parameters.model_copy(update={"stop": (stop,)}), eos_id=None, max_context=64
    )
    assert stopped.texts[1].text == made.texts[1].text[: made.texts[1].text.index(stop)]
    assert stopped.texts[1].finish_reason == "stop"
