import pytest
from tests.plans import make_plan as any_plan

from eightgig.core.units import GIB
from eightgig.report.memory_metrics import plan_metrics, trace_metrics
from eightgig.vram.plan import MemoryPlan, PhaseMemory
from eightgig.vram.runtime.diagnosis import OomDiagnosis, Recovered
from eightgig.vram.runtime.measure import MeasuredPhase
from eightgig.vram.trace import VramTrace


def make_plan(**changes) -> MemoryPlan:
    phases = (
        PhaseMemory(phase="train", device="cuda", parameters=GIB, activations=4 * GIB),
        PhaseMemory(phase="validate", device="cuda", parameters=GIB),
    )
    plan = any_plan(
        device="cuda",
        micro_batch=8,
        eval_batch=8,
        budget_bytes=8 * GIB,
        predicted=phases,
        expected_bytes=5 * GIB,
        needed_bytes=6 * GIB,
        margin_bytes=2 * GIB,
        predicted_reserved_bytes=7 * GIB,
        seconds_per_step=0.25,
    )
    return plan.model_copy(update=changes)


def seen(phase: str, device: str, **peaks: int) -> MeasuredPhase:
    return MeasuredPhase(
        phase=phase, device=device, seconds=3, peak_resident_bytes=9 * GIB, resident_growth_bytes=GIB, **peaks
    )


def test_a_plan_gives_its_promise():
    assert plan_metrics(make_plan()) == {
        "train.predicted_peak_gib": 5.0,
        "validate.predicted_peak_gib": 1.0,
        "predicted_seconds_per_step": 0.25,
        "expected_gib": 5.0,
        "needed_gib": 6.0,
        "margin_gib": 2.0,
        "usable_gib": 8.0,
        "predicted_reserved_gib": 7.0,
        "micro_batch": 8,
        "gradient_accumulation_steps": 2,
    }
    assert "predicted_seconds_per_step" not in plan_metrics(make_plan(seconds_per_step=None))


def test_a_trace_gives_measured_beside_predicted():
    measured = seen("train", "cuda", peak_allocated_bytes=4 * GIB, peak_reserved_bytes=6 * GIB)
    assert trace_metrics(VramTrace.of(make_plan(), (measured,))) == {
        "train.predicted_peak_gib": 5.0,
        "train.measured_peak_gib": 4.0,
        "train.measured_reserved_gib": 6.0,
        "train.error_fraction": pytest.approx(0.25),
        "train.seconds": 3.0,
        "final_micro_batch": 8.0,
        "final_accumulation": 2.0,
        "recoveries": 0.0,
    }


def test_growth_of_the_process_goes_by_another_name_and_has_no_error():
    metrics = trace_metrics(VramTrace.of(make_plan(), (seen("validate", "cpu"),)))
    assert metrics["validate.measured_growth_of_process_gib"] == 1.0
    assert not {"validate.measured_peak_gib", "validate.error_fraction"} & set(metrics)


def test_recoveries_are_counted():
    diagnosis = OomDiagnosis(code="too_big", finding="a", advice="b")
    once = Recovered(phase="train", step=1, failed_batch=8, batch=4, diagnosis=diagnosis)
    trace = VramTrace.of(
        make_plan(), (), final_plan=make_plan(micro_batch=4, gradient_accumulation_steps=4), recovered=(once, once)
    )
    metrics = trace_metrics(trace)
    assert (metrics["recoveries"], metrics["final_micro_batch"], metrics["final_accumulation"]) == (2.0, 4.0, 4.0)
