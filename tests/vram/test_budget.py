"""The cap at run time, and the context that is taken off it."""

import os
from types import SimpleNamespace

import pynvml
import pytest

from eightgig.core.errors import BudgetError
from eightgig.core.units import GIB, MIB
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.budget import Context, cap_of, context_of, enforced_budget, own_bytes, used_by_this_process

OURS = os.getpid()


def process(pid, num_bytes):
    return SimpleNamespace(pid=pid, usedGpuMemory=num_bytes)


def make_plan(device, budget_gib=8.0):
    return MemoryPlan.model_construct(
        device=device, budget_gib=budget_gib, context_bytes=500 * MIB, needed_bytes=100 * MIB
    )


def test_the_context_is_what_is_used_less_what_torch_reserved():
    assert context_of(400 * MIB, 2 * MIB, 500 * MIB) == Context(num_bytes=398 * MIB, source="measured")


@pytest.mark.parametrize("used", [None, 0, 2 * MIB])
def test_the_planned_context_stands_in_where_nvml_does_not_tell(used):
    assert context_of(used, 2 * MIB, 500 * MIB) == Context(num_bytes=500 * MIB, source="planned")


def test_an_8_gib_budget_on_a_bigger_card_and_on_its_own():
    context = Context(num_bytes=400 * MIB, source="measured")
    assert cap_of(8 * GIB, context, 80 * GIB) == 8 * GIB - 400 * MIB
    assert cap_of(8 * GIB, context, 7 * GIB) == 7 * GIB - 400 * MIB  # the card has less than the budget


def test_a_budget_below_the_context_is_refused():
    context = Context(num_bytes=400 * MIB, source="measured")
    with pytest.raises(
        BudgetError, match=r"gives 256\.0 MiB, but the CUDA context alone takes 400\.0 MiB \(measured\)"
    ):
        cap_of(256 * MIB, context, 80 * GIB)


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        ([], None),
        ([process(OURS, 3), process(OURS + 1, 5)], 3),
        ([process(OURS + 1, 5)], 5),  # in a container, where the host numbers the processes
        ([process(OURS + 1, 5), process(OURS + 2, 7)], None),
        ([process(OURS, None)], None),  # Windows
    ],
)
def test_own_bytes(processes, expected):
    assert own_bytes(processes) == expected


def test_nvml_is_asked_and_let_go(monkeypatch):
    calls = []
    for name in ("nvmlInit", "nvmlShutdown"):
        monkeypatch.setattr(pynvml, name, lambda name=name: calls.append(name))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", calls.append)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", lambda _: [process(OURS, 7)])
    assert used_by_this_process("GPU-1") == 7
    assert calls == ["nvmlInit", "GPU-1", "nvmlShutdown"]


@pytest.mark.parametrize("failing", ["nvmlInit", "nvmlDeviceGetHandleByUUID"])
def test_without_nvml_nothing_is_known(failing, monkeypatch):
    def fail(*_):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    for name in ("nvmlInit", "nvmlShutdown", "nvmlDeviceGetHandleByUUID"):
        monkeypatch.setattr(pynvml, name, lambda *_: None)
    monkeypatch.setattr(pynvml, failing, fail)
    assert used_by_this_process("GPU-1") is None


def test_on_the_cpu_nothing_is_capped():
    with enforced_budget(make_plan("cpu")) as budget:
        assert (budget.cap_bytes, budget.context) == (None, None)


def fake_cuda(monkeypatch, *, total_bytes, context_bytes):
    """A card that only remembers the fraction it was set to."""
    import torch

    fractions = [1.0]
    properties = SimpleNamespace(total_memory=total_bytes, uuid="1")
    for name, fake in {
        "empty_cache": lambda: None,
        "current_device": lambda: 0,
        "memory_reserved": lambda: 2 * MIB,
        "get_device_properties": lambda _: properties,
        "get_per_process_memory_fraction": lambda: fractions[-1],
        "set_per_process_memory_fraction": fractions.append,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    monkeypatch.setattr("eightgig.vram.runtime.budget.used_by_this_process", lambda _: context_bytes)
    return fractions


def test_the_cap_is_set_and_undone_whatever_happens(monkeypatch, caplog):
    fractions = fake_cuda(monkeypatch, total_bytes=16 * GIB, context_bytes=514 * MIB)
    caplog.set_level("INFO")
    with pytest.raises(ZeroDivisionError), enforced_budget(make_plan("cuda")) as budget:
        assert budget.cap_bytes == 8 * GIB - 512 * MIB
        assert fractions == [1.0, 7.5 / 16]
        raise ZeroDivisionError
    assert fractions == [1.0, 7.5 / 16, 1.0]
    assert "torch may allocate 7.5 GiB: a budget of 8 GiB less 512.0 MiB of CUDA context (measured)" in caplog.text


def test_the_log_says_when_the_context_is_only_planned(monkeypatch, caplog):
    fake_cuda(monkeypatch, total_bytes=16 * GIB, context_bytes=None)
    caplog.set_level("INFO")
    with enforced_budget(make_plan("cuda")) as budget:
        assert budget.context.source == "planned"
    assert "500.0 MiB of CUDA context (as planned, NVML does not tell)" in caplog.text


def test_a_context_that_leaves_too_little_is_warned_of(monkeypatch, caplog):
    fake_cuda(monkeypatch, total_bytes=16 * GIB, context_bytes=992 * MIB)
    with enforced_budget(make_plan("cuda", budget_gib=1.0)):
        pass
    assert "the plan needs 100.0 MiB and only 34.0 MiB are left" in caplog.text


@pytest.mark.gpu
def test_the_cap_holds_on_a_bigger_card():
    import torch

    before = torch.cuda.get_per_process_memory_fraction()
    with enforced_budget(make_plan("cuda", budget_gib=1.5)) as budget:
        assert 100 * MIB < budget.context.num_bytes < 1200 * MIB
        assert budget.cap_bytes == int(1.5 * GIB) - budget.context.num_bytes
        torch.empty(budget.cap_bytes - 32 * MIB, dtype=torch.uint8, device="cuda")
        torch.cuda.empty_cache()
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(budget.cap_bytes + 4 * MIB, dtype=torch.uint8, device="cuda")
    torch.empty(int(1.5 * GIB), dtype=torch.uint8, device="cuda")
    assert torch.cuda.get_per_process_memory_fraction() == before
