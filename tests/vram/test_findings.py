"""Each finding by itself: when it speaks, when it is silent, and that the docs explain its code."""

from pathlib import Path

import pytest

from eightgig.core.units import GIB, MIB
from eightgig.vram.cards.memory import CardMemory
from eightgig.vram.plan import CandidateResult, MemoryPlan, OwnedBytes, PhaseMemory
from eightgig.vram.planning.findings import FINDINGS, PlanCheck, findings_of
from eightgig.vram.planning.request import PlanRequest
from eightgig.vram.tracing.spec import WorkloadSpec

DOCS = Path(__file__).parents[2] / "docs" / "memory.md"


def a_plan(**changes):
    train = PhaseMemory(phase="train", device="cuda", activations=3 * GIB, min_memory_limit_bytes=3 * GIB)
    validate = PhaseMemory(phase="validate", device="cuda", temporaries=GIB, min_memory_limit_bytes=GIB)
    plain = {
        "model": "net",
        "sample": "300 px",
        "device": "cuda",
        "device_name": "card",
        "micro_batch": 32,
        "gradient_accumulation_steps": 4,
        "eval_batch": 64,
        "precision": "fp16",
        "activation_checkpointing": "none",
        "optimizer_kernel": "fused",
        "memory_format": "channels_last",
        "budget_gib": 8.0,
        "context_bytes": GIB // 2,
        "budget_bytes": 15 * GIB // 2,
        "predicted": (train, validate),
        "expected_bytes": 3 * GIB,
        "needed_bytes": 3 * GIB,
        "predicted_reserved_bytes": 4 * GIB,
        "margin_bytes": 9 * GIB // 2,
        "fits": True,
        "method": "by hand",
    }
    return MemoryPlan(**{**plain, **changes})


def found(plan, *, micro_batch=32, batch_norm=True, budget_gib=8.0, memory=None, predicted_as=()):
    request = PlanRequest(
        name="net",
        workload=WorkloadSpec(factory="nowhere:make"),
        sample="300 px",
        effective_batch=128,
        micro_batch=micro_batch,
        eval_batch=64,
        device=plan.device,
        device_name="card",
        memory=memory,
    )
    check = PlanCheck(plan, request, batch_norm=batch_norm, budget_gib=budget_gib, predicted_as=predicted_as)
    return {finding.code: finding.message for finding in findings_of(check)}


def owned(owner, num_bytes):
    return (OwnedBytes(owner=owner, category="activations", num_bytes=num_bytes),)


def test_a_plan_as_asked_for_has_none():
    assert found(a_plan()) == {}


@pytest.mark.parametrize(
    ("code", "changes", "said"),
    [
        (
            "VRAM001",
            {"micro_batch": 16, "gradient_accumulation_steps": 8},
            "micro-batch 32 does not fit: 16 with 8 accumulation steps, the same effective batch of 128",
        ),
        (
            "VRAM002",
            {"activation_checkpointing": "full"},
            "whole blocks are recomputed in the backward pass (checkpointing): up to a third more time a step",
        ),
        ("VRAM004", {"eval_batch": 32}, "validation with 64 samples at a time does not fit: 32 at a time"),
        (
            "VRAM005",
            {"device": "cpu"},
            "no GPU here: the plan is for the card of the budget, the run itself uses the CPU's memory",
        ),
        (
            "VRAM006",
            {"activation_checkpointing": "selective"},
            "normalisation and activations are recomputed in the backward pass: up to a third more time a step",
        ),
        (
            "VRAM007",
            {"offload": True},
            "activations wait in the machine's memory: each crosses PCI Express twice a step, and as much pinned "
            "memory of the machine is taken",
        ),
        (
            "VRAM008",
            {"margin_bytes": 100 * MIB},
            "only 100.0 MiB are left beside what is planned for: close what else uses the card, or set "
            "train.batch_size lower",
        ),
        (
            "VRAM016",
            {"margin_bytes": -100 * MIB, "expected_bytes": 7 * GIB, "needed_bytes": 15 * GIB // 2 + 100 * MIB},
            "7.0 GiB are expected of 7.5 GiB, but runs may need up to 7.6 GiB: a step that runs out is done again with "
            "a smaller micro-batch; close what else uses the card, or take smaller samples to be sure",
        ),
        (
            "VRAM009",
            {"predicted_reserved_bytes": 8 * GIB},
            "the allocator would reserve 8.0 GiB where 7.5 GiB are usable: it will give segments back and ask again, "
            "which costs a little time; PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True avoids most of it",
        ),
        (
            "VRAM010",
            {"largest": owned("head/mm", GIB)},
            "head/mm alone holds 1.0 GiB of 3.0 GiB at the peak: look there first to save",
        ),
        (
            "VRAM011",
            {"optimizer_in_backward": True},
            "weights are stepped while the backward pass runs, so that gradients are never all there: where memory "
            "runs out in that pass, or gradients are not finite, the run ends instead of going on",
        ),
        (
            "VRAM012",
            {"processes": 2},
            "memory is that of one of 2 processes, on a card of its own; the buffers of NCCL, which lie outside of "
            "torch's allocator, are not counted and have not been measured",
        ),
    ],
)
def test_one_finding(code, changes, said):
    assert found(a_plan(**changes)) == {code: said}


def test_batch_norm_with_few_samples():
    assert found(a_plan(micro_batch=4, gradient_accumulation_steps=32), micro_batch=4) == {
        "VRAM003": "BatchNorm sees only 4 samples at a time: accumulation does not widen its statistics, "
        "expect lower accuracy below 8"
    }
    assert found(a_plan(micro_batch=4, gradient_accumulation_steps=32), micro_batch=4, batch_norm=False) == {}
    assert found(a_plan(micro_batch=8, gradient_accumulation_steps=16), micro_batch=8) == {}


def test_validation_that_needs_most():
    plan = a_plan()
    wide = plan.phase("validate").model_copy(update={"min_memory_limit_bytes": 4 * GIB})
    assert found(a_plan(predicted=(plan.phase("train"), wide))) == {
        "VRAM004": "validation needs more memory than training: a lower train.eval_batch_size costs nothing but a "
        "little time"
    }


def test_one_holder_must_be_a_module_and_large():
    assert found(a_plan(largest=owned("zeros_like", 2 * GIB))) == {}  # the optimizer's state has no module
    assert found(a_plan(largest=owned("head/mm", GIB // 2))) == {}


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        (
            {"total_bytes": 6 * GIB},
            "the RTX 2060 has 6.00 GiB for programs: the plan and the run's cap are for that",
        ),
        (
            {"free_bytes": 7 * GIB, "spills": True},
            "7.00 GiB of the RTX 2060 are free, and beyond that its driver would move tensors to main memory: the plan "
            "and the run's cap are for what is free; close programs that use the card to have more",
        ),
    ],
)
def test_a_budget_that_the_card_does_not_have(memory, said):
    of = CardMemory(**{"card": "RTX 2060", "total_bytes": 8 * GIB, "free_bytes": 8 * GIB, **memory})
    assert found(a_plan(), budget_gib=8.0, memory=of) == {"VRAM013": f"plan.budget_gib asks for 8 GiB, but {said}"}
    assert found(a_plan(), budget_gib=6.0, memory=of) == {}


def test_a_card_of_which_others_hold_what_is_needed():
    memory = CardMemory(card="RTX 3070", total_bytes=8 * GIB, free_bytes=7 * GIB // 2)  # 3 and a context of 0.5
    assert found(a_plan(), budget_gib=8.0, memory=memory) == {}
    less = memory.model_copy(update={"free_bytes": 3 * GIB})
    assert found(a_plan(), budget_gib=8.0, memory=less) == {
        "VRAM014": "3.5 GiB are planned with the CUDA context, but other programs leave only 3.0 GiB of the RTX 3070: "
        "end them (make doctor names them), or lower plan.budget_gib; a step that runs out is done again with a "
        "smaller micro-batch"
    }
    assert found(a_plan(), budget_gib=8.0, memory=memory.model_copy(update={"free_bytes": None})) == {}
    # Where the driver does not say what this process's context takes, it is as the plan says: 3 and 0.5 are enough.
    assert found(a_plan(), budget_gib=8.0, memory=less.model_copy(update={"context_bytes": None})) == {}


def test_what_is_predicted_as_something_else():
    said = ("GRU: predicted as torch's own cells", "a::b: counted by its results alone")
    assert found(a_plan(), predicted_as=said) == {
        "VRAM015": "GRU: predicted as torch's own cells; a::b: counted by its results alone"
    }


def test_the_price_of_recomputing_is_read_off_the_plans_considered():
    bare = CandidateResult.from_records(a_plan(), needed_bytes=9 * GIB, fits=False, seconds_per_step=0.5)
    plan = a_plan(activation_checkpointing="full", considered=(bare,), seconds_per_step=0.6)
    assert "about 20% more time a step" in found(plan)["VRAM002"]


@pytest.mark.parametrize("code", FINDINGS)
def test_every_code_has_its_paragraph(code):
    assert f"**{code}" in DOCS.read_text(encoding="utf-8")
