import math

import pytest

from eightgig.pipelines.gpu_guide.advice import card_scores, needs_more_than, several_cards, speed_against_reference


def test_speed_is_the_geometric_mean_of_what_both_train(guide):
    assert speed_against_reference(guide, "RTX 3070") == pytest.approx(1.0)
    assert speed_against_reference(guide, "RTX 3090") == pytest.approx(math.sqrt(2.0 * 2.0))
    assert speed_against_reference(guide, "RTX 4070") == pytest.approx(1.5)


def test_speed_of_a_card_that_shares_no_workload(guide):
    alone = guide.model_copy(update={"rows": tuple(row for row in guide.rows if row.card != "RTX 3070")})
    assert speed_against_reference(alone, "RTX 3090") is None


def test_scores(guide):
    first, big, new = card_scores(guide)
    assert (first.num_fits, first.num_easy, first.num_workloads) == (2, 1, 3)
    assert (big.num_fits, big.num_easy) == (3, 3)
    assert big.only_here == ("semantic segmenter 4k",)
    assert big.speed_per_price == pytest.approx(2.0 * 499 / 1499)
    assert big.speed_per_watt == pytest.approx(2.0 * 220 / 350)
    assert new.speed_per_price == pytest.approx(1.5 * 499 / 599)
    assert (first.power_supply_w, big.power_supply_w) == (650, 780)


def test_what_is_short_of_memory(guide):
    assert [row.name for row in needs_more_than(guide, "RTX 3070")] == ["gpt2_medium", "semantic_segmenter_4k"]
    assert needs_more_than(guide, "RTX 3090") == []


def test_large_networks_with_short_steps_lose_most_on_two_cards(guide):
    pairs = several_cards(guide, "RTX 3070", 2, shared_lanes=True)
    assert list(pairs) == ["flower classifier", "gpt2 medium"]  # what does not fit has no second card either
    assert pairs["gpt2 medium"].efficiency < 0.6
    assert pairs["flower classifier"].efficiency > 0.8


def test_what_waits_for_launches_gains_nothing_from_a_second_card(guide):
    waiting = tuple(row.model_copy(update={"limit": "launch"}) for row in guide.rows)
    assert several_cards(guide.model_copy(update={"rows": waiting}), "RTX 3070", 2, shared_lanes=True) == {}
