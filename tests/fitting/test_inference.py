"""A language model that answers: weights by their bits, keys and values by tokens, and the longest context."""

import pytest

from eightgig.core.units import GIB
from eightgig.fitting.inference import longest_context, sizes_of
from eightgig.fitting.kv_cache import KvLayers
from eightgig.fitting.language import NetworkConfig, read_network
from eightgig.fitting.question import Question
from eightgig.fitting.weight_kinds import KINDS

# Llama 3.1 8B: 32 layers of 8 heads of 128; the embedding and the head have 128,256 words each.
LLAMA = NetworkConfig(
    name="llama",
    model_type="llama",
    config={},
    head="CausalLM",
    num_parameters=8_030_261_248,
    num_linear=8_030_261_248 - 2 * 128_256 * 4096,
    vocab_size=128_256,
    hidden_size=4096,
    inner_width=14_336,
    max_tokens=131_072,
    kv_layers=(KvLayers(count=32, values=2 * 8 * 128),),
)


@pytest.mark.parametrize(
    ("kind", "gib"),
    [
        ("fp16", 14.96),
        ("F16", 14.96),
        ("Q4_K_M", 4.58),
        ("Q5_K_M", 5.33),
        ("Q6_K", 6.14),
        ("Q8_0", 7.95),
        ("IQ4_XS", 4.17),
    ],
)
def test_weights_are_as_large_as_the_files_that_llama_cpp_measured(kind, gib):
    """tools/quantize/README.md of llama.cpp has the sizes beside the bits."""
    assert sizes_of(LLAMA, Question(), KINDS[kind], 1).weights / GIB == pytest.approx(gib, abs=0.01)


def test_nf4_leaves_embeddings_and_the_head_in_16_bits():
    weights = sizes_of(LLAMA, Question(), KINDS["nf4"], 1).weights
    assert weights == pytest.approx(LLAMA.num_linear * 4.127 / 8 + 2 * 128_256 * 4096 * 2, rel=1e-3)


@pytest.mark.parametrize(("tokens", "bits", "gib"), [(8192, 16, 1.0), (8192, 8, 0.5), (131_072, 16, 16.0)])
def test_keys_and_values_grow_with_tokens_and_bits(tokens, bits, gib):
    """2 x 32 layers x 8 heads x 128 x tokens x bytes."""
    sizes = sizes_of(LLAMA, Question(kv_bits=bits), KINDS["fp16"], tokens)
    assert sizes.keys_and_values / GIB == gib
    twice = sizes_of(LLAMA, Question(kv_bits=bits, batch=2), KINDS["fp16"], tokens)
    assert twice.keys_and_values == 2 * sizes.keys_and_values


def test_a_window_ends_the_growth():
    sliding = LLAMA.model_copy(update={"kv_layers": (KvLayers(count=32, values=2048, window=1023),)})
    at = [sizes_of(sliding, Question(), KINDS["fp16"], tokens).keys_and_values for tokens in (512, 1023, 4096)]
    assert at[0] < at[1] == at[2]


def test_the_longest_context_fits_and_a_longer_one_does_not():
    room = 7 * GIB
    longest = longest_context(LLAMA, Question(), KINDS["Q4_K_M"], room)
    assert longest is not None
    assert sizes_of(LLAMA, Question(), KINDS["Q4_K_M"], longest).total <= room
    assert sizes_of(LLAMA, Question(), KINDS["Q4_K_M"], longest + 64).total > room
    assert longest_context(LLAMA, Question(), KINDS["fp16"], room) is None
    assert longest_context(LLAMA, Question(), KINDS["Q4_K_M"], 100 * GIB) == LLAMA.max_tokens


def test_what_is_read_from_a_configuration(network_folder):
    known = read_network(str(network_folder()))
    assert known.kv_layers == (KvLayers(count=12, values=2 * 2 * 64),)
    attention, inner = 256 * 256 * 2 + 256 * 128 * 2, 3 * 256 * 512
    assert known.num_linear == 12 * (attention + inner)
    assert (known.hidden_size, known.inner_width) == (256, 512)
