"""Measured memory, predicted memory, and the cap."""

import time

import numpy as np
import pytest

from eightgig.core.units import MIB
from eightgig.vram.budget import enforced_budget
from eightgig.vram.measure import MeasuredPhase, MemoryMeter
from eightgig.vram.plan import MemoryPlan, PhaseMemory
from eightgig.vram.trace import VramTrace


def make_plan(device="cpu", budget_bytes=8 * 2**30):
    phases = [PhaseMemory(phase=p, device="cpu", parameters=100 * MIB) for p in ("train", "validate", "export")]
    return MemoryPlan.model_construct(
        device=device, budget_bytes=budget_bytes, device_name="test", predicted=tuple(phases)
    )


def test_a_peak_between_start_and_stop_is_seen():
    with MemoryMeter("train", "cpu") as meter:
        block = np.ones(96 * MIB, dtype=np.uint8)
        time.sleep(0.1)
        del block
    result = meter.result()
    assert 80 * MIB < result.resident_growth_bytes < 200 * MIB
    assert result.peak_allocated_bytes is None
    assert result.seconds >= 0.1


def test_several_spans_count_as_one_phase():
    meter = MemoryMeter("train", "cpu")
    for _ in range(2):
        with meter:
            time.sleep(0.05)
    assert meter.result().seconds == pytest.approx(0.1, abs=0.08)


def test_predicted_beside_measured():
    seen = MeasuredPhase(
        phase="train", device="cpu", seconds=1, peak_resident_bytes=300 * MIB, resident_growth_bytes=80 * MIB
    )
    trace = VramTrace.of(make_plan(), (seen,))
    assert trace.phases[0].predicted_bytes == 100 * MIB
    assert trace.phases[0].error_fraction == pytest.approx(0.25)


def test_on_the_cpu_nothing_is_capped():
    with enforced_budget(make_plan()):
        pass


@pytest.mark.gpu
def test_the_cap_holds_on_a_bigger_card():
    import torch

    with enforced_budget(make_plan("cuda", budget_bytes=256 * MIB)):
        torch.empty(128 * MIB, dtype=torch.uint8, device="cuda")
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(300 * MIB, dtype=torch.uint8, device="cuda")
    torch.empty(300 * MIB, dtype=torch.uint8, device="cuda")
