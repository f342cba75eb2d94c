"""What a run may take of the card of this machine: one figure for the plan and for the cap at run time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.cards import FakeCard, install
from tests.present import present
from tests.vram.test_planner import StraightLines, plan, request

from eightgig.core.errors import BudgetError, ConfigurationError
from eightgig.core.spilling import spills, spills_here
from eightgig.core.units import GIB, MIB, bytes_from_gib
from eightgig.vram.cards.catalog import card_named
from eightgig.vram.cards.memory import CardMemory
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.planning import target as targets
from eightgig.vram.planning.target import target_of
from eightgig.vram.runtime.budget import cap_of, enforced_budget
from eightgig.vram.runtime.card_memory import card_memory, context_to_keep, memory_of_run

SIZES = st.integers(0, 48 * GIB)


@given(
    budget_bytes=SIZES,
    total_bytes=SIZES,
    free_bytes=st.none() | SIZES,
    reserved_bytes=SIZES,
    context_bytes=st.none() | st.integers(0, 2 * GIB),
    planned_bytes=st.integers(0, 2 * GIB),
    spilling=st.booleans(),
)
def test_a_cap_is_never_above_budget_card_and_what_is_free(
    budget_bytes, total_bytes, free_bytes, reserved_bytes, context_bytes, planned_bytes, spilling
):
    memory = CardMemory(
        card="any",
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        reserved_bytes=reserved_bytes,
        context_bytes=context_bytes,
        spills=spilling,
    )
    share = memory.share(budget_bytes, planned_bytes)
    assert share.num_bytes <= min(budget_bytes, total_bytes)
    try:
        cap = cap_of(share.num_bytes, context_to_keep(context_bytes, planned_bytes), total_bytes, limit=share.limit)
    except BudgetError:
        return
    assert cap + max(planned_bytes, context_bytes or 0) <= min(budget_bytes, total_bytes)
    if spilling and free_bytes is not None:
        assert cap <= free_bytes + reserved_bytes
    else:
        assert share.num_bytes == min(budget_bytes, total_bytes)


@pytest.mark.parametrize(
    ("card", "spilling", "budget_gib", "codes"),
    [
        (FakeCard(total_bytes=16 * GIB, free_bytes=16 * GIB), False, 8.0, []),
        (FakeCard(total_bytes=6 * GIB, free_bytes=6 * GIB), False, 6.0, ["VRAM013"]),
        (FakeCard(total_bytes=6 * GIB, free_bytes=5 * GIB), True, 5.0, ["VRAM013"]),
        (FakeCard(free_bytes=7 * GIB), True, 7.0, ["VRAM013"]),
        (FakeCard(free_bytes=7 * GIB), False, 8.0, []),
        (FakeCard(free_bytes=3 * GIB), False, 8.0, ["VRAM014"]),
        (FakeCard(total_bytes=7 * GIB + 811 * MIB), False, 7.79, ["VRAM013"]),  # an RTX 3070 as Linux' driver shows it
    ],
)
def test_plan_and_cap_are_the_same_figure(monkeypatch, card, spilling, budget_gib, codes):
    install(monkeypatch, [card], spills=spilling)
    made = plan(StraightLines(), 8, request(memory=memory_of_run()))
    assert made.budget_gib == budget_gib
    assert made.budget_bytes == bytes_from_gib(budget_gib) - GIB // 2
    assert [finding.code for finding in made.findings] == codes
    with enforced_budget(made) as budget:
        assert budget.cap_bytes == made.budget_bytes


def test_a_plan_that_is_not_of_this_machine_is_not_clamped(monkeypatch):
    install(monkeypatch, [FakeCard(total_bytes=6 * GIB)])
    made = plan(StraightLines(), 24, request())
    assert (made.budget_gib, made.findings) == (24, ())


def test_what_does_not_fit_says_why_there_is_so_little():
    memory = CardMemory(card="RTX 2060", total_bytes=6 * GIB, free_bytes=3 * GIB // 4, spills=True)
    with pytest.raises(
        BudgetError,
        match=r"does not fit 0\.75 GiB \(plan\.budget_gib asks for 8 GiB, but 0\.75 GiB of the RTX 2060 are",
    ):
        plan(StraightLines(), 8, request(memory=memory))


def test_reading_a_card_takes_nothing_of_it_but_where_a_full_card_spills(monkeypatch):
    card = FakeCard(free_bytes=7 * GIB)
    install(monkeypatch, [card])
    assert memory_of_run().free_bytes == 7 * GIB
    assert not card.has_context
    install(monkeypatch, [card], spills=True)
    assert memory_of_run().available_bytes(0) == 7 * GIB
    assert card.has_context


def test_of_several_processes_the_one_with_least_decides(monkeypatch):
    cards = [FakeCard(total_bytes=24 * GIB), FakeCard(uuid="2", total_bytes=6 * GIB), FakeCard(uuid="3")]
    install(monkeypatch, cards)
    assert [memory_of_run(processes).total_bytes for processes in (1, 2, 3, 8)] == [24 * GIB, *[6 * GIB] * 3]
    cards[2].free_bytes = 2 * GIB
    install(monkeypatch, cards, spills=True)
    assert memory_of_run(3).free_bytes == 2 * GIB
    assert not any(card.has_context for card in cards)  # the processes take theirs


def test_each_process_is_capped_for_its_own_card(monkeypatch):
    cards = [FakeCard(total_bytes=24 * GIB), FakeCard(uuid="2", total_bytes=6 * GIB)]
    caps = []
    for current in (0, 1):
        install(monkeypatch, cards, current=current)
        with enforced_budget(plan(StraightLines(), 8, request())) as budget:
            caps.append(budget.cap_bytes)
    assert caps == [8 * GIB - GIB // 2, 6 * GIB - GIB // 2]


@pytest.fixture
def found(monkeypatch):
    monkeypatch.setattr(targets, "card_found", lambda: card_named("RTX 3080"))


def test_a_run_on_the_card(monkeypatch, found):
    install(monkeypatch, [FakeCard(name="NVIDIA GeForce RTX 3080", total_bytes=10 * GIB)])
    target = target_of(PlanParameters())
    assert (target.device, target.device_name, target.card.name) == ("cuda", "NVIDIA GeForce RTX 3080", "RTX 3080")
    assert present(target.memory).total_bytes == 10 * GIB
    assert target_of(PlanParameters(card="RTX 4090")).card.name == "RTX 4090"


def test_a_run_on_the_cpu_is_planned_for_the_card_of_its_budget(monkeypatch, found):
    install(monkeypatch, [FakeCard(total_bytes=6 * GIB)])
    assert target_of(PlanParameters(device="cpu")).memory is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(targets, "card_found", lambda: None)
    target = target_of(PlanParameters())
    assert (target.device, target.memory, target.card.name) == ("cpu", None, "RTX 3070")


def test_a_process_whose_card_has_no_kernels_is_told_before_it_starts(monkeypatch, found):
    old = FakeCard(uuid="2", name="NVIDIA GeForce GTX 1080", capability=(6, 1))
    install(monkeypatch, [FakeCard(), old])
    assert target_of(PlanParameters()).device == "cuda"
    with pytest.raises(
        ConfigurationError, match=r"process 1 of train\.distributed\.nproc_per_node = 2 would use card 1, .*GTX 1080"
    ):
        target_of(PlanParameters(), processes=2)


@pytest.mark.parametrize(
    ("system", "is_wsl", "model", "expected"),
    [
        ("Linux", False, None, False),
        ("Linux", True, None, True),
        ("Windows", False, "wddm", True),
        ("Windows", False, "mcdm", True),
        ("Windows", False, "tcc", False),
        ("Windows", False, None, True),
    ],
)
def test_spilling_by_system_and_driver_model(monkeypatch, tmp_path, system, is_wsl, model, expected):
    assert spills(system, is_wsl=is_wsl, driver_model=model) is expected
    kernel = tmp_path / "version"
    if system == "Linux":
        kernel.write_text("Linux version 5.15.167.4-microsoft-standard-WSL2" if is_wsl else "Linux version 6.8.0")
    monkeypatch.setattr("eightgig.core.spilling._KERNEL", kernel)
    monkeypatch.setattr("platform.system", lambda: system)
    assert spills_here(lambda: model) is expected


def test_torch_still_tells_whether_there_is_a_context():
    """The function is private: a torch that lacks it fails here, not in a run."""
    assert callable(getattr(torch._C, "_cuda_hasPrimaryContext", None))


@pytest.mark.gpu
def test_a_real_card_is_read_alike_with_and_without_a_context():
    torch.zeros(1, device="cuda")
    index = torch.cuda.current_device()
    memory = card_memory(index)
    assert memory.card == torch.cuda.get_device_name()
    assert memory.total_bytes == torch.cuda.get_device_properties(index).total_memory
    assert memory.reserved_bytes == torch.cuda.memory_reserved()
    assert 0 < (memory.free_bytes or 0) <= memory.total_bytes
    assert memory.context_bytes is None or 50 * MIB < memory.context_bytes < 2 * GIB
    held = torch.empty(512 * MIB, dtype=torch.uint8, device="cuda")
    again = card_memory(index)
    del held
    assert abs((again.available_bytes(0) or 0) - (memory.available_bytes(0) or 0)) < 64 * MIB
