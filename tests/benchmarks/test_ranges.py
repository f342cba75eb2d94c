"""The range of a prediction, by hand: made from one half of the models, held against the other."""

import pytest


@pytest.fixture
def ranges(benchmark):
    return benchmark("ranges")


def runs_of(ranges, shares, *, source="there", kind="attention", model="net"):
    return [
        ranges.Judged(source, f"{model}{i}", kind, round(1000 * (1 + share)), 1000) for i, share in enumerate(shares)
    ]


def test_no_model_is_in_both_halves(ranges):
    runs = [
        *runs_of(ranges, [0.1] * 40),
        *runs_of(ranges, [0.2] * 40),
        *runs_of(ranges, [0.1] * 10, source="elsewhere"),
    ]
    first, second = ranges.halves_of(runs, 0)
    assert {(run.source, run.model) for run in first}.isdisjoint((run.source, run.model) for run in second)
    assert (len(first), len(second)) == (45, 45)
    assert sum(run.source == "elsewhere" for run in first) == 5
    assert ranges.halves_of(runs, 0) == (first, second)
    assert ranges.halves_of(runs, 1) != (first, second)


def test_the_upper_end_is_what_95_of_100_runs_stay_below(ranges):
    made = ranges.ranges_of(runs_of(ranges, [i / 1000 for i in range(1, 100)]))  # 0.1 % to 9.9 % above
    assert made["attention"] == {"above": 0.095, "num_runs": 99, "source": "there (99)"}


def test_a_kind_with_too_few_runs_takes_the_widest_over(ranges):
    runs = [
        *runs_of(ranges, [0.01] * 30),
        *runs_of(ranges, [0.05] * 30, kind="convolutions"),
        *runs_of(ranges, [0.5] * 9, kind="recurrent"),
    ]
    made = ranges.ranges_of(runs)
    assert {kind: stated["above"] for kind, stated in made.items()} == {
        "attention": 0.01,
        "convolutions": 0.05,
        "recurrent": 0.05,
    }
    assert made["recurrent"]["source"] == "no public runs of this kind: that of convolutions"


def test_a_prediction_that_is_always_above_has_no_negative_range(ranges):
    assert ranges.ranges_of(runs_of(ranges, [-0.1] * 30))["attention"]["above"] == 0.0


def test_without_enough_runs_nothing_is_stated(ranges):
    with pytest.raises(ranges.TooFewRunsError, match="no kind of network has 10 runs"):
        ranges.ranges_of(runs_of(ranges, [0.1] * 9))


def test_of_too_few_nothing_is_held(ranges):
    assert ranges.held(runs_of(ranges, [0.1] * 3)) == {}


def test_how_often_it_holds_for_other_models(ranges):
    steady = [*runs_of(ranges, [0.01] * 40), *runs_of(ranges, [0.02] * 40, source="elsewhere", kind="convolutions")]
    assert ranges.held(steady) == {
        "there": {"rows": 40, "held": 1.0},
        "there, attention": {"rows": 40, "held": 1.0},
        "elsewhere": {"rows": 40, "held": 1.0},
        "elsewhere, convolutions": {"rows": 40, "held": 1.0},
    }
    spread = ranges.held(runs_of(ranges, [number / 1000 for number in range(400)]))["there"]["held"]
    assert 0.92 < spread < 0.98
