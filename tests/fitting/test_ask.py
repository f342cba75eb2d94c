"""The question as a whole: a row a card, verdicts, levers, the inverse, and modules that are alive."""

import json
import sys
from typing import Any

import pytest
import torch
from tests.fitting.own_networks import make
from tests.present import present
from torch import nn

import eightgig
from eightgig.core.errors import ConfigurationError
from eightgig.fitting.answer import FitAnswer
from eightgig.fitting.page import page_of
from eightgig.fitting.table import duration, size_of
from eightgig.vram.tracing.predictor import Predictor

OWN = "tests.fitting.own_networks:make"


@pytest.fixture(scope="module")
def answer():
    return eightgig.fit(OWN, card=["RTX 3070", "RTX 4090"], batch=64)


@pytest.fixture(scope="module")
def short():
    """Of a network whose weights, gradients and state alone are too much."""
    return eightgig.fit("tests.fitting.own_networks:wide", card="RTX 3070", batch=8, optimizer="adamw")


def test_cards_of_one_size_of_need_differ_in_time(answer):
    small, large = answer.rows
    assert [row.verdict for row in answer.rows] == ["fits", "fits"]
    assert answer.status == 0
    assert small.middle_gib == large.middle_gib
    assert small.seconds_per_step > large.seconds_per_step
    assert small.largest_batch < large.largest_batch


def test_the_largest_batch_fits_and_fills_the_card(answer):
    most = answer.row("RTX 3070").largest_batch
    asked = eightgig.fit(OWN, card="RTX 3070", batch=most)
    (row,) = asked.rows
    assert present(row.plan).micro_batch == most
    assert 0.9 * row.usable_gib < row.upper_gib <= row.usable_gib


def test_what_is_hopeless_is_not_traced(short):
    (row,) = short.rows
    assert (row.verdict, short.status, row.middle_gib, row.plan) == ("no", 1, None, None)
    assert row.upper_gib > row.usable_gib
    assert {"eight_bit_states", "qlora"} <= {lever.name for lever in row.levers}
    assert all(lever.saves_gib > 0 and lever.costs for lever in row.levers)


def test_the_worst_row_is_the_answers(answer):
    rows = tuple(
        row.model_copy(update={"verdict": verdict})
        for row, verdict in zip(answer.rows, ("barely", "fits"), strict=True)
    )
    barely = answer.model_copy(update={"rows": rows})
    assert (barely.verdict, barely.status) == ("barely", 0)
    none = answer.model_copy(update={"rows": (rows[1], rows[0].model_copy(update={"verdict": "no"}))})
    assert (none.verdict, none.status) == ("no", 1)


def test_the_record_is_written_and_read(answer, short):
    for each in (answer, short):
        assert FitAnswer.model_validate_json(each.model_dump_json()) == each
        assert json.loads(each.model_dump_json())["rows"][0]["card"] == "RTX 3070"


def test_a_notebook_shows_a_table(answer, short):
    assert answer._repr_html_().count("<tr>") == 3
    assert "What would make it fit" in short._repr_html_()


def test_a_page_loads_nothing_and_escapes_names(answer):
    page = page_of(answer.model_copy(update={"name": "<script>alert(1)</script>"}))
    assert "<script>alert" not in page
    assert "http" not in page


def test_a_live_module_is_asked_with_its_loss_and_batch():
    tied = nn.Sequential(nn.Embedding(4096, 64), nn.Linear(64, 64), nn.Linear(64, 4096, bias=False))
    shared: Any = tied[0].weight
    tied[2].weight = shared
    batch = {"x": torch.zeros(4, 32, dtype=torch.long), "y": torch.zeros(4, 32, dtype=torch.long)}
    before = shared.clone()

    def loss(network, made):
        return nn.functional.cross_entropy(network(made["x"]).flatten(0, 1), made["y"].flatten())

    asked = eightgig.fit(tied, loss=loss, batch=batch)
    assert asked.batch == 4
    held = present(asked.rows[0].plan).phase("train").parameters
    assert held == 4096 * 64 * 4 + 64 * 64 * 4 + 512  # tied weights once; a bias takes a block
    assert torch.equal(shared, before)


@pytest.mark.parametrize("arguments", [{}, {"loss": lambda net, x: net(x).mean()}, {"batch": torch.zeros(2, 4)}])
def test_a_live_module_without_its_loss_or_batch_is_told_so(arguments):
    with pytest.raises(ConfigurationError, match=r"asked for as fit\(module, loss=\.\.\., batch=\.\.\.\)"):
        eightgig.fit(nn.Linear(4, 4), **arguments)


def test_a_function_of_this_program_is_asked_as_it_is():
    assert eightgig.fit(make, batch=64).rows[0].verdict == "fits"


def test_the_function_and_its_package_do_not_hide_each_other():
    import eightgig.fitting.ask

    assert eightgig.fit is eightgig.fitting.ask.fit
    assert sys.modules["eightgig.fitting"] is eightgig.fitting


def test_traces_are_shared_by_all_cards(monkeypatch):
    traced = []
    made = Predictor._made
    monkeypatch.setattr(Predictor, "_made", lambda self, *asked: traced.append(asked[1].phase) or made(self, *asked))
    eightgig.fit(OWN, card="all-8gb", batch=64)
    assert traced.count("validate") == 1
    # Beside the step itself: one that says how memory grows, and its end for each size of a CUDA context.
    assert traced.count("train") <= 4


@pytest.mark.parametrize(
    ("number", "said"), [(25_557_032, "25.6 M"), (999_885_952, "1 B"), (1_543_714_304, "1.54 B"), (640, "640")]
)
def test_parameters_are_counted_in_words(number, said):
    assert size_of(number) == said


def test_times_are_about():
    assert [duration(value) for value in (None, 0.0652, 1.23)] == ["-", "~65 ms", "~1.2 s"]
