"""The line on top of a page."""

from types import SimpleNamespace
from typing import Any

import pandas as pd

from eightgig.report.page import Fact, Facts
from eightgig.report.sections.summary import in_words
from eightgig.report.sections.training import training_section

CARD: Any = SimpleNamespace(best_epoch=3, started_from="nothing", score_name="accuracy", val_score=0.9)
PLAN: Any = SimpleNamespace(verdict="fits barely", budget_gib=8.0)
VARIANTS = pd.DataFrame(
    {
        "variant": ["torch_cpu", "onnx_int8_cpu"],
        "device": "cpu",
        "speedup_vs_torch": [1.0, 6.57],
        "recommended": [False, True],
    }
)
HISTORY = pd.DataFrame({"epoch": [1, 2, 3, 4], "val_score": [0.1, 0.2, 0.9, 0.8]})


def said(variants=VARIANTS, history=HISTORY):
    return in_words(Fact("Accuracy on 77 held-out images", "98.7%"), CARD, PLAN, variants, history)


def test_it_says_how_good_it_is_whether_it_fits_and_what_to_use():
    assert said() == (
        "Accuracy on 77 held-out images: 98.7%. Training fits barely the budget of 8 GiB. On this CPU use "
        "onnx_int8_cpu: 6.6 x as fast as torch."
    )


def test_where_nothing_is_recommended_it_says_so():
    assert "No exported form is both right and faster" in said(VARIANTS.assign(recommended=False))


def test_where_the_last_epoch_was_the_best_more_may_help():
    assert "train.epochs" in said(history=HISTORY[:3])
    assert "train.epochs" not in said(history=HISTORY[2:3])  # of one epoch nothing can be told


def test_one_epoch_is_figures_and_no_curve():
    curves: Any = object()
    only = training_section(CARD, HISTORY[:1].assign(loss_scale=float("nan")), curves).blocks[0]
    assert isinstance(only, Facts)
    assert [(fact.label, fact.value) for fact in only.facts] == [("epoch", 1), ("validation accuracy", 0.1)]
    assert getattr(training_section(CARD, HISTORY, curves).blocks[0], "figure", None) is curves
