"""The cap at run time, and the context that is taken off it."""

import gc
import os
import subprocess
import sys
import weakref
from types import SimpleNamespace

import pynvml
import pytest
from tests.cards import FakeCard, install
from tests.plans import make_plan as any_plan
from tests.present import present

from eightgig.core.errors import BudgetError
from eightgig.core.units import GIB, MIB
from eightgig.vram.runtime.budget import cap_of, enforced_budget, release_memory
from eightgig.vram.runtime.card_memory import Context, context_of, context_to_keep, own_bytes, used_by_this_process

OURS = os.getpid()


def process(pid, num_bytes):
    return SimpleNamespace(pid=pid, usedGpuMemory=num_bytes)


def make_plan(device, budget_gib=8.0):
    return any_plan(device=device, budget_gib=budget_gib, context_bytes=500 * MIB, needed_bytes=100 * MIB)


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


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (300 * MIB, Context(num_bytes=500 * MIB, source="planned")),  # kernels of cuDNN and cuBLAS are yet to come
        (500 * MIB, Context(num_bytes=500 * MIB, source="measured")),
        (700 * MIB, Context(num_bytes=700 * MIB, source="measured")),
        (None, Context(num_bytes=500 * MIB, source="planned")),
    ],
)
def test_the_larger_of_the_measured_and_the_planned_context_is_kept_free(held, expected):
    assert context_to_keep(held, 500 * MIB) == expected


@pytest.mark.parametrize("grows_to", [200, 300, 499])
def test_the_budget_holds_when_kernels_are_loaded_later(monkeypatch, grows_to):
    """Measured before the first convolution, the context is smaller than it will be."""
    install(monkeypatch, [FakeCard(total_bytes=16 * GIB, free_bytes=16 * GIB, context_bytes=200 * MIB)])
    with enforced_budget(make_plan("cuda")) as budget:
        assert budget.cap_bytes + grows_to * MIB <= 8 * GIB
        assert budget.context == Context(num_bytes=500 * MIB, source="planned")


def test_the_cap_is_set_and_undone_whatever_happens(monkeypatch, caplog):
    card = FakeCard(total_bytes=16 * GIB, free_bytes=16 * GIB, context_bytes=512 * MIB)
    install(monkeypatch, [card])
    caplog.set_level("INFO")
    with pytest.raises(ZeroDivisionError), enforced_budget(make_plan("cuda")) as budget:
        assert budget.cap_bytes == 8 * GIB - 512 * MIB
        assert card.fractions == [1.0, 7.5 / 16]
        raise ZeroDivisionError
    assert card.fractions == [1.0, 7.5 / 16, 1.0]
    assert "torch may allocate 7.5 GiB: a budget of 8 GiB less 512.0 MiB of CUDA context (measured)" in caplog.text


@pytest.mark.parametrize("context_bytes", [None, 300 * MIB])
def test_the_log_says_when_the_context_is_only_planned(monkeypatch, caplog, context_bytes):
    install(monkeypatch, [FakeCard(total_bytes=16 * GIB, context_bytes=context_bytes)])
    caplog.set_level("INFO")
    with enforced_budget(make_plan("cuda")) as budget:
        assert present(budget.context).source == "planned"
    assert "500.0 MiB of CUDA context (as planned: NVML does not tell, or sees less as yet)" in caplog.text


def test_a_context_that_leaves_too_little_is_warned_of(monkeypatch, caplog):
    install(monkeypatch, [FakeCard(total_bytes=16 * GIB, context_bytes=990 * MIB)])
    with enforced_budget(make_plan("cuda", budget_gib=1.0)):
        pass
    assert (
        "the plan needs 100.0 MiB and only 34.0 MiB are left: the CUDA context takes more than the 500.0 MiB of "
        "plan.context_gib"
    ) in caplog.text


def shared_card(**changes):
    """An RTX 3070 whose desktop holds 1 GiB; torch's allocator of this process holds another."""
    return FakeCard(
        **{"total_bytes": 8 * GIB, "free_bytes": 7 * GIB, "reserved_bytes": GIB, "has_context": True, **changes}
    )


@pytest.mark.parametrize(
    ("context_bytes", "cap_bytes"),
    [
        (500 * MIB, 7 * GIB - 500 * MIB),
        (300 * MIB, 7 * GIB - 500 * MIB),  # it will grow by 200
        (None, 7 * GIB),  # Windows does not tell: all that is free now, the context being taken already
    ],
)
def test_where_a_full_card_spills_what_others_hold_is_not_given_away(monkeypatch, caplog, context_bytes, cap_bytes):
    install(monkeypatch, [shared_card(context_bytes=context_bytes)], spills=True)
    caplog.set_level("INFO")
    with enforced_budget(make_plan("cuda")) as budget:
        assert budget.cap_bytes == cap_bytes
    assert ": other programs leave 7" in caplog.text


def test_where_a_full_card_is_an_error_the_budget_stands(monkeypatch):
    install(monkeypatch, [shared_card()])
    with enforced_budget(make_plan("cuda")) as budget:
        assert budget.cap_bytes == 8 * GIB - 500 * MIB


def test_a_plan_for_more_than_is_left_by_now_is_warned_of(monkeypatch, caplog):
    install(monkeypatch, [shared_card(free_bytes=1600 * MIB)], spills=True)
    plan = make_plan("cuda").model_copy(update={"needed_bytes": 6 * GIB})
    with enforced_budget(plan):
        pass
    assert "the card had more when the plan was made; run the plan again (--tags plan)" in caplog.text


def test_a_card_that_others_fill_is_refused_with_the_way_out(monkeypatch):
    install(monkeypatch, [shared_card(free_bytes=300 * MIB, reserved_bytes=0, context_bytes=200 * MIB)], spills=True)
    with pytest.raises(
        BudgetError, match=r"other programs leave of the card 300\.0 MiB, .* 500\.0 MiB \(planned\): end them"
    ):
        enforced_budget(make_plan("cuda")).__enter__()


class Trained:
    """A network as accelerate leaves it: a function of it knows it."""

    def __init__(self):
        self.forward = lambda: self


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_earlier_work_left_is_gone_before_the_cap_and_what_this_leaves_after_it(monkeypatch, device):
    install(monkeypatch, [FakeCard()])
    gc.collect()
    gc.disable()  # as if no collection came by
    try:
        before = weakref.ref(Trained())
        assert before() is not None
        with enforced_budget(make_plan(device)):
            assert before() is None
            within = weakref.ref(Trained())
            assert within() is not None
        assert within() is None
    finally:
        gc.enable()


def test_garbage_goes_before_the_cache_and_the_cache_before_the_cap_is_computed(monkeypatch):
    import torch

    card, calls = FakeCard(total_bytes=16 * GIB, reserved_bytes=4 * GIB), []
    install(monkeypatch, [card])

    def emptied():
        calls.append("cache")
        card.reserved_bytes = 0

    monkeypatch.setattr("eightgig.vram.runtime.budget.gc.collect", lambda: calls.append("garbage"))
    monkeypatch.setattr(torch.cuda, "empty_cache", emptied)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda _: calls.append("cap"))
    with enforced_budget(make_plan("cuda")):
        assert calls[:2] == ["garbage", "cache"]
        assert calls[-1] == "cap"
        del calls[:]
    assert calls == ["cap", "garbage", "cache"]


@pytest.fixture
def thawed():
    """As in a process that has not frozen anything; this one has (see tests/conftest.py)."""
    gc.unfreeze()
    yield
    gc.freeze()


def test_collections_within_look_at_what_this_work_made(thawed):
    old = Trained()
    of_old, inner = weakref.ref(old), weakref.ref(Trained())
    with enforced_budget(make_plan("cpu")):
        assert inner() is None
        with enforced_budget(make_plan("cpu")):
            pass
        del old
        new = weakref.ref(Trained())
        release_memory(on_card=False)
        assert new() is None
        assert of_old() is not None  # it was there before
    assert of_old() is None
    assert not gc.get_freeze_count()


def test_what_others_froze_stays_frozen(thawed):
    gc.freeze()
    with enforced_budget(make_plan("cpu")):
        pass
    assert gc.get_freeze_count()


@pytest.mark.gpu
def test_what_a_network_in_a_cycle_held_is_given_back():
    import torch

    class OnCard(Trained):
        def __init__(self):
            super().__init__()
            self.weights = torch.empty(256 * MIB, dtype=torch.uint8, device="cuda")

    gc.disable()
    try:
        with enforced_budget(make_plan("cuda", budget_gib=1.5)):
            OnCard()
            assert torch.cuda.memory_allocated() >= 256 * MIB
        assert torch.cuda.memory_reserved() < 256 * MIB
    finally:
        gc.enable()


@pytest.mark.gpu
def test_the_card_does_not_hold_more_than_the_budget_once_kernels_are_loaded():
    import torch

    plan = make_plan("cuda", budget_gib=2.5).model_copy(update={"context_bytes": 1200 * MIB})
    with enforced_budget(plan) as budget:
        image, kernel = (torch.randn(8, 8, n, n, device="cuda", dtype=torch.float16) for n in (64, 3))
        torch.nn.functional.conv2d(image, kernel).sum().item()
        torch.randn(256, 256, device="cuda").mm(torch.randn(256, 256, device="cuda")).sum().item()
        torch.empty(
            present(budget.cap_bytes) - torch.cuda.memory_reserved() - 4 * MIB, dtype=torch.uint8, device="cuda"
        )
        used = used_by_this_process(f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}")
        if used is None:
            pytest.skip("the driver does not tell what a process uses")
        assert used <= 2.5 * GIB


@pytest.mark.gpu
def test_the_cap_holds_on_a_bigger_card():
    import torch

    before = torch.cuda.get_per_process_memory_fraction()
    with enforced_budget(make_plan("cuda", budget_gib=1.5)) as budget:
        assert 100 * MIB < present(budget.context).num_bytes < 1200 * MIB
        assert budget.cap_bytes == int(1.5 * GIB) - present(budget.context).num_bytes
        torch.empty(present(budget.cap_bytes) - 32 * MIB, dtype=torch.uint8, device="cuda")
        torch.cuda.empty_cache()
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(present(budget.cap_bytes) + 4 * MIB, dtype=torch.uint8, device="cuda")
    torch.empty(int(1.5 * GIB), dtype=torch.uint8, device="cuda")
    assert torch.cuda.get_per_process_memory_fraction() == before


@pytest.mark.gpu
def test_what_another_program_holds_of_a_real_card_is_not_given_away_where_it_spills(monkeypatch):
    import torch

    monkeypatch.setattr("eightgig.vram.runtime.card_memory.spills_here", lambda _: True)
    torch.zeros(1, device="cuda")
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    hold = (
        "import torch; held = torch.empty(2**30, dtype=torch.uint8, device='cuda'); print('held', flush=True); input()"
    )
    other = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert present(other.stdout).readline().strip() == "held"
        with enforced_budget(make_plan("cuda", budget_gib=total / GIB)) as budget:
            free, _ = torch.cuda.mem_get_info()
            assert present(budget.cap_bytes) <= free <= total - GIB
    finally:
        other.communicate("\n", timeout=60)
