"""What one of several processes needs: by hand, and through the planner."""

import pytest

from eightgig.core.units import GIB, MIB
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.planning.planner import make_plan
from eightgig.vram.planning.processes import sharded_over
from eightgig.vram.planning.request import PlanRequest
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.prediction import Prediction
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.spec import WorkloadSpec


def prediction(**changes):
    held = {"parameters": 400, "gradients": 400, "optimizer": 800, "activations": 1000, "batch": 1, "temporaries": 9}
    values = {
        "phase": "train",
        "peak_allocated": 2610,
        "peak_reserved": 3000,
        "min_memory_limit": 2700,
        "num_segments": 1,
        "fragmentation": 0.1,
        "at_peak": {**held, "workspace": 0},
        "largest": (),
        "timeline": (),
        "kind": "attention",
        "error_above": 0.05,
    }
    return Prediction(**{**values, **changes})


def test_a_share_of_what_lasts_and_some_blocks_whole():
    made = sharded_over(prediction(), 4, largest_block=50)
    assert made.at_peak["parameters"] == 400 // 4 + 3 * 50
    assert made.at_peak["gradients"] == 400 // 4 + 2 * 50
    assert made.at_peak["optimizer"] == 800 // 4
    assert made.at_peak["activations"] == 1000
    change = -(300 + 300 + 600) + 5 * 50
    assert (made.peak_allocated, made.peak_reserved, made.min_memory_limit) == (
        2610 + change,
        3000 + change,
        2700 + change,
    )


def test_validation_sends_no_gradients():
    held = {**prediction().at_peak, "gradients": 0, "optimizer": 0}
    made = sharded_over(prediction(phase="validate", at_peak=held), 2, largest_block=50)
    assert (made.at_peak["parameters"], made.at_peak["gradients"]) == (350, 0)


@pytest.fixture(scope="module")
def predictor(tiny_workloads):
    with Predictor() as made:
        yield made


def plan(predictor, **changes):
    asked = {
        "name": "net",
        "workload": WorkloadSpec(factory="tiny_workloads:deep_blocks"),
        "sample": "1024",
        "effective_batch": 8,
        "micro_batch": 8,
        "eval_batch": 8,
        "precisions": ("fp32",),
        "device": "cuda",
        "device_name": "card",
    }
    request = PlanRequest(**{**asked, **changes})
    return make_plan(request, PlanParameters(margin_fraction=0.0, context_gib=0.0), predictor=predictor)


def test_ddp_holds_all_gradients_and_fsdp_a_share(predictor):
    alone = plan(predictor, effective_batch=16).phase("train")  # accumulates
    ddp, fsdp = (plan(predictor, processes=4, is_sharded=sharded) for sharded in (False, True))
    weights = 8 * 2 * 4 * MIB  # eight blocks of two matrices of 1024 x 1024 in float32
    assert ddp.processes == 4
    assert ddp.phase("train").parts == alone.parts
    assert ddp.phase("train").gradients == weights
    block = 2 * 4 * MIB
    assert fsdp.phase("train").optimizer == pytest.approx(2 * weights / 4, rel=0.01)
    assert fsdp.phase("train").gradients == weights // 4 + 2 * block
    assert fsdp.phase("train").parameters == weights // 4 + 3 * block
    assert fsdp.needed_bytes < ddp.needed_bytes < GIB
    assert {finding.code for finding in ddp.findings} == {"VRAM012"}


def test_the_trace_knows_the_largest_block(predictor):
    trace = predictor.trace(WorkloadSpec(factory="tiny_workloads:deep_blocks"), StepOptions(micro_batch=1))
    assert trace.largest_block == 2 * 4 * MIB
