import pytest

from eightgig.core.errors import ConfigurationError
from eightgig.vram.cards.catalog import Card, article_figures, card_named, cards

# FLOP an SM and clock on tensor cores, float16 in, float32 accumulated (NVIDIA's whitepapers of each chip).
TENSOR_FLOP = {"GA100": 2048, "GH100": 4096}
GEFORCE_TENSOR_FLOP = 512
CORES_PER_SM = {"GA100": 64}

each_card = pytest.mark.parametrize("card", cards(), ids=lambda card: card.name)


@each_card
def test_peaks_follow_from_units_and_clock(card):
    clock_hz = card.boost_mhz * 1e6
    tensor = card.num_sms * TENSOR_FLOP.get(card.chip, GEFORCE_TENSOR_FLOP) * clock_hz
    assert card.peak_flops("fp16", tensor_cores=True) == pytest.approx(tensor, rel=0.006)
    assert card.peak_flops("bf16", tensor_cores=True) == card.peak_flops("fp16", tensor_cores=True)
    assert card.tf32_tflops == pytest.approx(card.fp16_tflops / 2, rel=0.01)
    assert card.int8_tops == pytest.approx(card.fp16_tflops * (2 if card.chip in TENSOR_FLOP else 4), rel=0.006)


@each_card
def test_cuda_cores_follow_from_sms_and_give_fp32(card):
    assert card.cuda_cores == card.num_sms * CORES_PER_SM.get(card.chip, 128)
    # Hopper's tensor cores clock at 1830 MHz, its other units at 1980 MHz (H100 whitepaper).
    clock_mhz = 1980 if card.generation == "Hopper" else card.boost_mhz
    assert card.fp32_tflops == pytest.approx(2 * card.cuda_cores * clock_mhz / 1e6, rel=0.006)


@each_card
def test_every_card_has_sources_and_names_what_none_confirmed(card):
    assert card.sources
    assert set(card.unverified) <= set(Card.model_fields)
    assert card.launched is None or len(card.launched) == len("2020-10-29")


def test_the_article_card():
    card = card_named("NVIDIA GeForce RTX 3070")
    assert (card.memory_gib, card.bandwidth_gb_per_s, card.cuda_cores) == (8.0, 448.0, 5888)
    assert card.memory_bytes == 8 * 1024**3
    assert card.pcie_gb_per_s == pytest.approx(31.5, abs=0.01)
    assert card.nvlink_gb_per_s is None
    assert 14 * card.memory_bus_bits / 8 == card.bandwidth_gb_per_s  # 14 Gbit/s a pin


def test_all_cards_of_the_article_are_there():
    assert {"RTX 3070", "RTX 3080", "RTX 3090", "RTX 4070"} <= {card.name for card in cards()}
    assert len({card.name for card in cards()}) == len(cards())


def test_float32_uses_tensor_cores_only_where_allowed():
    a100 = card_named("a100 40gb")
    assert a100.peak_flops("fp32", tensor_cores=True) == 156e12
    assert a100.peak_flops("fp32", tensor_cores=False) == 19.5e12


def test_an_unknown_card_names_the_known():
    with pytest.raises(
        ConfigurationError, match=r"no card 'RTX 9999' in the catalog. It has: RTX 3060 12 GB, RTX 3070,"
    ):
        card_named("RTX 9999")


def test_only_the_article_int8_figure_is_wrong():
    wrong = [figure for figure in article_figures() if figure.is_right is False]
    assert [(figure.card, figure.field, figure.claimed, figure.found) for figure in wrong] == [
        ("RTX 3070", "int8_tops", 81.2, 162.6)
    ]
    assert all(figure.found is not None for figure in article_figures())
