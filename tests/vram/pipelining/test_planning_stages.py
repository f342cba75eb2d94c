"""Where the planner cuts, against all cuts there are; and what it says of it."""

import pytest

from eightgig.core.errors import BudgetError
from eightgig.core.units import GIB, MIB
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import StagePlan
from eightgig.vram.planning.planner import make_plan
from eightgig.vram.planning.request import PlanRequest
from eightgig.vram.planning.stages import StagePlanner, StagesRequest, step_seconds_of
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.spec import WorkloadSpec

RESNET = WorkloadSpec(factory="tests.vram.pipelining.networks:resnet")
GPT2 = WorkloadSpec(factory="tests.vram.pipelining.networks:gpt2")


@pytest.fixture(scope="module")
def predictor():
    with Predictor() as made:
        yield made


def planner_of(workload, predictor, **changes):
    request = StagesRequest(**{"count": 2, **changes})
    return StagePlanner(
        workload, request, predictor=predictor, generation="ampere", budget_gib=8, context_bytes=GIB // 2
    )


@pytest.mark.slow  # traces both stages of every cut
@pytest.mark.parametrize("workload", [RESNET, GPT2], ids=["resnet", "gpt2"])
def test_the_fullest_stage_is_nearly_that_of_the_best_of_all_cuts(workload, predictor):
    planner = planner_of(workload, predictor)
    options = StepOptions(micro_batch=4, accumulates=True)
    chosen = planner.train(options, 4)
    facts = predictor.facts(workload, 4, "none")
    every = [planner._trace(options, facts, (cut,), 4) for cut in facts.cuts]
    best = min(max(stage.min_memory_limit for stage in traced.train) for traced in every)
    assert max(stage.min_memory_limit for stage in chosen.train) <= 1.15 * best


def test_a_larger_card_gets_more_of_the_network(predictor):
    options = StepOptions(micro_batch=4, accumulates=True)
    even = planner_of(GPT2, predictor).train(options, 4)
    uneven = planner_of(GPT2, predictor, budgets_gib=(8, 24)).train(options, 4)
    assert uneven.train[0].min_memory_limit < even.train[0].min_memory_limit
    assert uneven.train[1].min_memory_limit > even.train[1].min_memory_limit


def test_what_fits_no_card_fits_two(predictor):
    def plan(**changes):
        request = PlanRequest.for_card("RTX 3070", GPT2, batch_size=8, precisions=("bf16",))
        request = request.model_copy(update={"micro_batch": 2, **changes})
        parameters = PlanParameters(budget_gib=0.095, context_gib=0, offload="never")
        return make_plan(request, parameters, predictor=predictor)

    with pytest.raises(BudgetError):
        plan()
    made = plan(stages=StagesRequest(count=2, gb_per_s=7.88))
    assert made.fits
    assert all(stage.expected_bytes <= 0.095 * GIB for stage in made.stages)
    assert made.processes == 1
    assert made.effective_batch == 8
    parts = [part for stage in made.stages for part in stage.parts]
    assert parts[0] == "transformer.wte"
    assert parts[-1] == "lm_head"
    assert len(parts) == len(set(parts))
    finding = next(finding for finding in made.findings if finding.code == "VRAM017")
    assert "the layers are spread over 2 cards" in finding.message
    assert "through 2 stages" in made.sentence()
    assert made.seconds_per_step is not None


def test_an_average_of_the_weights_counts(predictor):
    options = StepOptions(micro_batch=4, accumulates=True)
    plain = planner_of(GPT2, predictor).train(options, 4)
    averaged = planner_of(GPT2, predictor, averages=True).train(options, 4)
    held = [sum(stage.at_peak["parameters"] for stage in made.train) for made in (plain, averaged)]
    assert 1.9 < held[1] / held[0] < 2.1


def test_a_schedule_holds_what_it_says():
    one = StagesRequest(count=3)
    assert [one.in_flight(stage, 8) for stage in range(3)] == [3, 2, 1]
    assert [StagesRequest(count=3, order="gpipe").in_flight(stage, 8) for stage in range(3)] == [8, 8, 8]
    assert [StagesRequest(count=3, order="one_at_a_time").in_flight(stage, 8) for stage in range(3)] == [1, 1, 1]
    assert one.in_flight(0, 2) == 2


def test_time_by_hand():
    stages = [
        StagePlan(parts=("a",), budget_gib=8, handed_bytes=100 * MIB, seconds_per_micro_batch=0.1),
        StagePlan(parts=("b",), budget_gib=8, seconds_per_micro_batch=0.2),
    ]
    crossing = 2 * 100 * MIB * 2 / (0.8 * 10e9)  # there and back, each through the machine's memory
    assert step_seconds_of(stages, micro_batches=4, overlapped=False, gb_per_s=10) == pytest.approx(
        4 * (0.3 + crossing)
    )
    assert step_seconds_of(stages, micro_batches=4, overlapped=True, gb_per_s=10) == pytest.approx(
        3 * 0.2 + 0.3 + crossing
    )
