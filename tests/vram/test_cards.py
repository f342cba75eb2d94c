import pytest

from eightgig.core.errors import ConfigurationError
from eightgig.vram.cards.catalog import Card, article_figures, card_named, cards

# FLOP an SM and clock on tensor cores, float16 in, float32 accumulated (NVIDIA's whitepapers of each chip).
TENSOR_FLOP = {"GA100": 2048, "GH100": 4096, "GB100": 8192, "GV100": 1024}
GEFORCE_TENSOR_FLOP, WORKSTATION_TENSOR_FLOP = 512, 1024  # of the same chips; GeForce cards run at half of the rate
CORES_PER_SM = {"Turing": 64, "Volta": 64, "GA100": 64}
# Before Ampere tensor cores know float16 alone, and those of the GTX 16 have none.
WITHOUT_TENSOR_CORES = {"TU116", "TU117"}

each_card = pytest.mark.parametrize("card", cards(), ids=lambda card: card.name)


def tensor_flop(card):
    of_series = GEFORCE_TENSOR_FLOP if "GeForce" in card.nvml_names[0] else WORKSTATION_TENSOR_FLOP
    return TENSOR_FLOP.get(card.chip, of_series)


@each_card
def test_peaks_follow_from_units_and_clock(card):
    if card.chip in WITHOUT_TENSOR_CORES:
        assert (card.fp16_tflops, card.bf16_tflops, card.tf32_tflops, card.int8_tops) == (None, None, None, None)
        return
    # Blackwell's server chip has 148 SMs at a clock that NVIDIA does not state: its rates are those of its datasheet.
    tensor = card.num_sms * tensor_flop(card) * card.boost_mhz * 1e6
    assert card.peak_flops("fp16", tensor_cores=True) == pytest.approx(
        tensor, rel=0.06 if card.chip == "GB100" else 0.006
    )
    faster = 4 if tensor_flop(card) == GEFORCE_TENSOR_FLOP else 2
    assert card.int8_tops == (None if card.chip == "GV100" else pytest.approx(faster * card.fp16_tflops, rel=0.006))


@each_card
def test_before_ampere_tensor_cores_know_float16_alone(card):
    if card.compute_capability < (8, 0):
        assert (card.bf16_tflops, card.tf32_tflops) == (None, None)
        return
    assert card.peak_flops("bf16", tensor_cores=True) == card.peak_flops("fp16", tensor_cores=True)
    assert card.tf32_tflops == pytest.approx(card.fp16_tflops / 2, rel=0.01)


@each_card
def test_cuda_cores_follow_from_sms_and_give_fp32(card):
    assert card.cuda_cores == card.num_sms * CORES_PER_SM.get(card.chip, CORES_PER_SM.get(card.generation, 128))
    # Hopper's tensor cores clock at 1830 MHz, its other units at 1980 MHz (H100 whitepaper).
    clock_mhz = 1980 if card.generation == "Hopper" else card.boost_mhz
    assert card.fp32_tflops == pytest.approx(
        2 * card.cuda_cores * clock_mhz / 1e6, rel=0.01 if card.chip == "GB100" else 0.006
    )


@each_card
def test_memory_moves_at_a_rate_that_its_kind_has(card):
    """From GDDR5 to HBM3e: 1.7 to 32 Gbit/s a pin."""
    assert 1.7 <= card.bandwidth_gb_per_s * 8 / card.memory_bus_bits <= 32


def test_every_geforce_card_of_8_gb_is_there():
    desktop = ["2060 Super", "2070", "2070 Super", "2080", "2080 Super", "3050 8 GB", "3060 8 GB", "3060 Ti", "3070"]
    desktop += ["3070 Ti", "4060", "4060 Ti 8 GB", "5050", "5060", "5060 Ti 8 GB"]
    laptop = ["2070", "2070 Super", "2080", "2080 Super", "3070", "3070 Ti", "4060", "4070", "5050", "5060", "5070"]
    wanted = {f"RTX {name}" for name in desktop} | {f"RTX {name} Laptop" for name in laptop} | {"RTX 3080 Laptop 8 GB"}
    assert {card.name for card in cards() if card.memory_gib == 8} == wanted


def test_a_name_of_the_driver_and_a_size_are_one_card():
    keys = [(name, card.memory_gib) for card in cards() for name in card.nvml_names]
    twice = {key for key in keys if keys.count(key) > 1}
    assert twice == set()


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
