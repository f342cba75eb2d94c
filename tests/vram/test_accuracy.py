"""The range that a prediction comes with, and what a card of a given memory makes of one."""

from typing import get_args

import pytest

from eightgig.core.units import MIB
from eightgig.vram.allocator.events import AllocationTrace, Event, OpCost
from eightgig.vram.tracing.accuracy import NetworkKind, kind_of, load_accuracy
from eightgig.vram.tracing.prediction import predict_from


def trace_of(*ops, phase="forward", events=(), dispensable=()):
    costs = tuple(OpCost(name, phase, 1, 1, "fp32") for name in ops)
    blocks = {event.block for event in events}
    return AllocationTrace(
        events=tuple(events),
        categories=dict.fromkeys(blocks, "temporaries"),
        owners=dict.fromkeys(blocks, "op"),
        marks=(),
        costs=costs,
        dispensable=frozenset(dispensable),
    )


@pytest.mark.parametrize(
    ("ops", "kind"),
    [
        (["convolution"] * 4, "convolutions"),
        (["convolution"] * 4 + ["bmm"] * 40, "convolutions"),
        (["convolution", *["bmm"] * 40], "attention"),
        (["addmm", "mm"], "attention"),
        (["mm", "_thnn_fused_lstm_cell"], "recurrent"),
        ([], "attention"),
    ],
)
@pytest.mark.parametrize("phase", ["forward", "validate"])
def test_a_network_is_of_the_kind_of_its_forward_pass(ops, kind, phase):
    assert kind_of(trace_of(*ops, phase=phase)) == kind


def test_convolutions_that_are_run_again_in_the_backward_pass_do_not_count():
    assert kind_of(trace_of(*["convolution"] * 9, phase="backward")) == "attention"


def test_every_kind_has_a_range_and_says_where_it_is_from():
    accuracy = load_accuracy()
    assert set(accuracy.kinds) == set(get_args(NetworkKind))
    assert accuracy.how
    for stated in accuracy.kinds.values():
        assert 0 < stated.above < 0.5, stated
        assert stated.source


def test_a_prediction_says_its_kind_and_its_upper_end():
    made = predict_from(trace_of("mm", events=(Event(0, 100 * MIB), Event(0, 0))), "train")
    above = load_accuracy().kinds["attention"].above
    assert (made.kind, made.error_above) == ("attention", above)
    assert made.upper_limit == round(100 * MIB * (1 + above))


def test_a_card_takes_no_more_than_it_has_where_a_workspace_can_be_done_without():
    # 100 MiB of tensors, and 60 MiB that cuDNN would like.
    events = (Event(0, 100 * MIB), Event(1, 60 * MIB), Event(1, 0), Event(0, 0))
    trace = trace_of(events=events, dispensable=[1])
    reserved = {
        usable: predict_from(trace, "train", usable and usable * MIB).peak_reserved for usable in (None, 200, 130)
    }
    assert reserved == {None: 160 * MIB, 200: 160 * MIB, 130: 100 * MIB}


def test_what_does_not_fit_a_card_says_what_it_would_take():
    trace = trace_of(events=(Event(0, 100 * MIB), Event(1, 60 * MIB), Event(1, 0), Event(0, 0)))
    assert predict_from(trace, "train", 130 * MIB).peak_reserved == 160 * MIB
