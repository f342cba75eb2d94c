"""Each rule, from both sides: a verdict that could not turn is no verdict."""

import pytest

from eightgig.core.errors import ConfigurationError
from eightgig.pipelines.gpu_guide.claims import RULES, answer, answers, claims
from eightgig.pipelines.gpu_guide.records import Claim
from eightgig.vram.cards.catalog import article_figures


def claim(rule, **values):
    return Claim(chapter="1", claim="a claim", rule=rule, **values)


def changed(guide, name, card=None, *, article=False, **values):
    """The guide with some values of one workload's rows changed."""
    field = "article_rows" if article else "rows"
    rows = tuple(
        row.model_copy(update=values) if row.name == name and card in (None, row.card) else row
        for row in getattr(guide, field)
    )
    return guide.model_copy(update={field: rows})


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (5, 6, "supported"),
        (6, 7, "supported"),
        (6.1, 7, "contradicted"),
        (7.2, 7.2, "contradicted"),
        (1, 2, "contradicted"),
    ],
)
def test_memory_lies_in_the_claimed_range_or_not(guide, low, high, verdict):
    """5.7 GiB; a range may be off by 5 %."""
    given = answer(claim("memory", workload="flower_classifier", low=low, high=high, unit="GB"), guide)
    assert (given.verdict, given.found) == (verdict, "5.7 GiB")
    assert "planned for the RTX 3070: fp16, micro-batch 32 x 1, needs 6.0 GiB" in given.remark


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(4.8, 4.8, "contradicted"), (5.4, 5.4, "supported"), (45, 60, "contradicted")]
)
def test_an_epoch_may_be_off_by_a_quarter(guide, low, high, verdict):
    given = answer(claim("epoch", workload="flower_classifier", low=low, high=high, unit="min"), guide)
    assert (given.verdict, given.found) == (verdict, "6.7 min")


def test_the_least_time_can_contradict_but_not_prove(guide):
    slow, quick = (
        answer(claim("seconds", workload="flower_classifier", low=low, high=high), guide)
        for low, high in ((0.01, 0.05), (0.5, 1.0))
    )
    assert (slow.verdict, quick.verdict) == ("contradicted", "partly")
    assert quick.found == "at least 0.10 s"


@pytest.mark.parametrize(("millions", "verdict"), [(355, "supported"), (500, "contradicted")])
def test_parameters_are_counted_by_their_bytes(guide, millions, verdict):
    given = answer(claim("parameters", workload="gpt2_medium", low=millions, high=millions), with_weights(guide))
    assert (given.verdict, given.found) == (verdict, "354.8 million")


def with_weights(guide):
    return changed(guide, "gpt2_medium", article=True, weight_bytes=354_823_168 * 4)


def test_made_to_fit(guide):
    fitting = claim("made_to_fit", workload="gpt2_medium", card="RTX 3070")
    assert answer(fitting, guide).verdict == "supported"
    assert answer(fitting, guide).found == "fits the RTX 3070: 6.4 of 8 GiB"
    assert answer(fitting, changed(guide, "gpt2_medium", fits=False, remark="no")).verdict == "contradicted"


def test_does_not_fit(guide):
    large = claim("does_not_fit", workload="semantic_segmenter_4k", card="RTX 3070")
    assert (answer(large, guide).verdict, answer(large, guide).remark) == ("supported", "needs 20.0 GiB")
    assert answer(large, changed(guide, "semantic_segmenter_4k", fits=True)).verdict == "contradicted"


def test_nvlink_is_in_the_catalog(guide):
    assert answer(claim("no_nvlink", card="RTX 3070"), guide).verdict == "supported"
    assert answer(claim("no_nvlink", card="RTX 3090"), guide).verdict == "contradicted"


def test_two_cards(guide):
    two = claim("two_cards", card="RTX 3070")
    assert answer(two, guide).verdict == "supported"  # neither reaches 90 % on 8 lanes a card
    assert "flower classifier" in answer(two, guide).found
    assert answer(two, changed(guide, "flower_classifier", seconds_per_step=1.0)).verdict == "partly"
    long = changed(changed(guide, "flower_classifier", seconds_per_step=60.0), "gpt2_medium", seconds_per_step=60.0)
    assert answer(two, long).verdict == "contradicted"


def test_the_article_file_does_not_feed_the_card(guide):
    loader = claim("article_loader", workload="flower_classifier", card="RTX 3070")
    given = answer(loader, guide)
    assert given.verdict == "contradicted"
    assert given.found == "24 images/s on 8 cores; the card takes 320"
    slow = changed(guide, "flower_classifier", article=True, samples_per_second=20.0)
    assert answer(loader, slow).verdict == "supported"


@pytest.mark.parametrize(("needed", "verdict"), [(580, "contradicted"), (450, "supported"), (None, "not tested")])
def test_the_driver_by_the_torch_that_is_installed(guide, needed, verdict):
    given = answer(claim("driver", low=470), guide.model_copy(update={"driver_needed": needed}))
    assert given.verdict == verdict


def test_cores_that_feed_the_card(guide):
    enough = claim("cores", card="RTX 3070", low=6, unit="cores")
    assert answer(enough, guide).verdict == "supported"
    assert answer(enough, guide).found.startswith("0.8 cores for 320 images/s")  # 320 / 421.35
    assert answer(enough, changed(guide, "flower_classifier", samples_per_second=5000.0)).verdict == "contradicted"


def test_an_older_board(guide):
    old = answer(claim("pcie", card="RTX 3070", low=3), guide)
    assert old.verdict == "partly"
    assert old.found.startswith("the card has 4.0: ")
    assert answer(claim("pcie", card="RTX 3070", low=4), guide).verdict == "supported"


@pytest.mark.parametrize(("watts", "verdict"), [(650, "contradicted"), (850, "partly"), (1100, "supported")])
def test_power_of_several_cards(guide, watts, verdict):
    """2 x 220 + 430 = 870 W; three want 1090."""
    given = answer(claim("power", card="RTX 3070", low=watts, unit="W"), guide)
    assert (given.verdict, given.found) == (verdict, "2 cards 870 W, 3 cards 1090 W, 4 cards 1310 W")


def test_most_for_the_money(guide):
    assert answer(claim("value", card="RTX 3070"), guide).verdict == "contradicted"  # 1.5 x at 599 of 499
    slower = changed(guide, "flower_classifier", "RTX 4070", samples_per_second=320.0)
    slower = changed(slower, "gpt2_medium", "RTX 4070", samples_per_second=2.5)
    assert answer(claim("value", card="RTX 3070"), slower).verdict == "supported"


def test_more_memory(guide):
    given = answer(claim("more_memory", card="RTX 3070"), guide)
    assert (given.verdict, given.found) == ("partly", "RTX 3090 frees 2 of 2; RTX 4070 frees 1 of 2")
    fitting = changed(guide, "semantic_segmenter_4k", "RTX 4070", fits=True, limit="compute")
    assert answer(claim("more_memory", card="RTX 3070"), fitting).verdict == "supported"


def test_speed_for_each_watt(guide):
    given = answer(claim("per_watt", card="RTX 4070"), guide)
    assert (given.verdict, given.found) == (
        "supported",
        "1.65 times the RTX 3070's speed for each watt",
    )  # 1.5 x 220/200
    assert answer(claim("per_watt", card="RTX 3070"), guide).verdict == "contradicted"


def test_what_was_left_out_is_said_to_be(guide):
    empty = guide.model_copy(update={"rows": (), "article_rows": (), "cards": guide.cards[:1]})
    given = answers(empty)
    assert len(given) == len(claims()) + len(article_figures())
    untested = {one.claim for one in given if one.verdict == "not tested"}
    assert {one.claim for one in claims() if one.workload} <= untested
    assert all("not planned in this run" in answer(one, empty).remark for one in claims() if one.workload)


def test_every_claim_is_answered_in_the_order_of_the_article(guide):
    given = answers(guide)
    chapters = [[int(part) for part in one.chapter.split(".")] for one in given]
    assert chapters == sorted(chapters)
    assert all(one.verdict in ("supported", "contradicted", "partly", "not tested") for one in given)
    assert all(one.basis for one in given if one.verdict != "not tested")


def test_every_rule_is_used_and_an_unknown_one_refused(guide):
    assert {one.rule for one in claims()} == set(RULES)
    with pytest.raises(ConfigurationError, match="no rule 'guess' for a claim; there are: memory, epoch,"):
        answer(claim("guess"), guide)


def test_claims_name_workloads_of_the_configuration(project_path):
    import yaml

    text = (project_path / "conf/base/parameters_gpu_guide.yml").read_text(encoding="utf-8")
    known = set(yaml.safe_load(text)["gpu_guide"]["compare"]["workloads"])
    assert {one.workload for one in claims() if one.workload} <= known
