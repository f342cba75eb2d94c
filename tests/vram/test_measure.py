"""Measured memory beside predicted memory."""

import subprocess
import sys

import pytest
from tests.plans import make_plan as any_plan

from eightgig.core.units import MIB
from eightgig.vram.plan import PhaseMemory
from eightgig.vram.runtime.diagnosis import OomDiagnosis, Recovered
from eightgig.vram.runtime.measure import MeasuredPhase, MemoryMeter
from eightgig.vram.trace import VramTrace


def make_plan():
    phases = [PhaseMemory(phase=p, device="cpu", parameters=100 * MIB) for p in ("train", "validate", "export")]
    return any_plan(predicted=tuple(phases), micro_batch=8, eval_batch=8)


def test_a_peak_between_start_and_stop_is_seen():
    """In a process of its own: in one that has run other tests, what they left may go while this one looks."""
    code = (
        "import time\n"
        "import numpy as np\n"
        "from eightgig.vram.runtime.measure import MemoryMeter\n"
        "with MemoryMeter('train', 'cpu') as meter:\n"
        "    block = np.ones(96 * 2**20, dtype=np.uint8)\n"
        "    time.sleep(0.1)\n"
        "    del block\n"
        "print(meter.result().model_dump_json())\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True)
    result = MeasuredPhase.model_validate_json(done.stdout)
    assert 80 * MIB < result.resident_growth_bytes < 200 * MIB
    assert result.peak_allocated_bytes is None
    assert result.seconds >= 0.1


def test_several_spans_count_as_one_phase(monkeypatch):
    clock = iter((10.0, 10.5, 20.0, 20.25))  # each span's beginning and end
    monkeypatch.setattr("eightgig.vram.runtime.measure.time.perf_counter", lambda: next(clock))
    meter = MemoryMeter("train", "cpu")
    for _ in range(2):
        with meter:
            pass
    assert meter.result().seconds == 0.75


def test_predicted_beside_measured():
    seen = MeasuredPhase(
        phase="train", device="cpu", seconds=1, peak_resident_bytes=300 * MIB, resident_growth_bytes=80 * MIB
    )
    trace = VramTrace.of(make_plan(), (seen,))
    assert trace.phases[0].predicted_bytes == 100 * MIB
    assert trace.phases[0].error_fraction == pytest.approx(0.25)


def test_the_trace_says_how_the_plan_was_carried_out():
    planned = make_plan()
    diagnosis = OomDiagnosis(code="too_big", finding="a", advice="b")
    once = Recovered(phase="train", step=3, failed_batch=8, batch=4, diagnosis=diagnosis)
    smaller = planned.model_copy(update={"micro_batch": 4, "gradient_accumulation_steps": 4})
    trace = VramTrace.of(planned, (), final_plan=smaller, recovered=(once,))
    assert (trace.final_micro_batch, trace.final_accumulation, trace.recovered) == (4, 4, (once,))
    assert VramTrace.of(planned, ()).final_micro_batch == 8
