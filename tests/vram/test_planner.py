"""The planner by hand arithmetic: which plan, at which effective batch, with which findings."""

import pytest

from eightgig.core.errors import BudgetError
from eightgig.core.units import GIB, MIB
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.planner import PlanRequest, make_plan
from eightgig.vram.predict import Affine, Footprint


def footprint(mib_per_sample, *, batch_norm=True, widest=1):
    return Footprint(
        parameter_bytes=100 * MIB,
        gradient_bytes=100 * MIB,
        optimizer_bytes=200 * MIB,
        saved=Affine(fixed=0, per_sample=mib_per_sample * MIB),
        widest=Affine(fixed=0, per_sample=widest * MIB),
        has_batch_norm=batch_norm,
    )


def request(plain=100, recomputed=20, *, device="cuda", eval_batch=64, **kind):
    return PlanRequest(
        model="net",
        image_size=300,
        micro_batch=32,
        accumulation=4,
        eval_batch=eval_batch,
        precision="fp16",
        device=device,
        device_name="card",
        footprints={"none": footprint(plain, **kind), "full": footprint(recomputed, **kind)},
    )


def plan(asked, budget_gib):
    return make_plan(asked, PlanParameters(budget_gib=budget_gib, context_gib=0.5, margin_fraction=0.0))


def codes(made):
    return [finding.code for finding in made.findings]


def test_what_fits_is_left_alone():
    made = plan(request(), 8)
    assert (made.micro_batch, made.accumulation, made.checkpointing, made.fits) == (32, 4, "none", True)
    assert made.phase("train").parts == {
        "parameters": 100 * MIB,
        "gradients": 100 * MIB,
        "optimizer": 200 * MIB,
        "activations": 3200 * MIB,
        "workspace": 2 * 8_519_680,
    }
    assert made.margin_bytes == round(7.5 * GIB) - 3600 * MIB - 2 * 8_519_680
    assert codes(made) == []


def test_a_smaller_micro_batch_comes_first_at_the_same_effective_batch():
    made = plan(request(), 3.0)  # 2.5 GiB usable: 400 + 16 x 100 + 16.25 MiB fits
    assert (made.micro_batch, made.accumulation, made.checkpointing) == (16, 8, "none")
    assert made.effective_batch == 128
    assert codes(made) == ["VRAM001"]
    assert made.findings[0].message.startswith("micro-batch 32 does not fit: 16 with 8 accumulation steps")


def test_checkpointing_comes_before_a_batch_that_starves_batch_norm():
    made = plan(request(), 1.6)  # 1.1 GiB: 8 x 100 + 416 does not fit; 32 x 20 + 416 does
    assert (made.micro_batch, made.checkpointing) == (32, "full")
    assert codes(made) == ["VRAM002"]


def test_without_batch_norm_micro_batch_one_comes_before_checkpointing():
    made = plan(request(batch_norm=False), 1.1)
    assert (made.micro_batch, made.checkpointing) == (1, "none")


def test_a_starved_batch_norm_is_a_finding():
    made = plan(request(plain=500, recomputed=400), 2.6)
    assert (made.micro_batch, made.checkpointing) == (4, "full") or made.micro_batch < 8
    assert "VRAM003" in codes(made)


def test_validation_counts():
    made = plan(request(plain=10, widest=40), 8)
    assert codes(made) == ["VRAM004"]
    assert made.predicted_reserved_bytes == made.phase("validate").peak_bytes == (300 + 64 * 40) * MIB + 8_519_680


def test_margin_is_kept_free():
    tight = PlanParameters(budget_gib=4.1, context_gib=0.5, margin_fraction=0.0)
    careful = tight.model_copy(update={"margin_fraction": 0.1})
    assert make_plan(request(), tight).micro_batch == 32
    assert make_plan(request(), careful).micro_batch == 16


def test_the_cpu_is_a_finding_and_has_no_workspace():
    made = plan(request(device="cpu"), 8)
    assert codes(made) == ["VRAM005"]
    assert made.phase("train").workspace == 0


def test_nothing_fits_says_what_would():
    with pytest.raises(BudgetError) as caught:
        plan(request(plain=900, recomputed=800), 1.0)
    assert str(caught.value) == (
        "net at 300 px does not fit: even micro-batch 1 with checkpointing full needs 1.2 GiB (parameters 100.0 MiB, "
        "gradients 100.0 MiB, optimizer 200.0 MiB, activations 800.0 MiB, workspace 16.2 MiB); usable are 512.0 MiB of "
        "the 1 GiB budget. It would fit a card of 1.7 GiB or more; or take a smaller image_size, or a smaller model."
    )


def test_a_plan_survives_its_file():
    made = plan(request(), 3.0)
    assert MemoryPlan.model_validate_json(made.model_dump_json()) == made


def test_sentence():
    assert plan(request(), 8).sentence() == (
        "micro-batch 32 x 4 accumulation, fp16, checkpointing none: 3.5 GiB of 7.5 GiB usable on a 8 GiB card, "
        "fits with 4.0 GiB to spare"
    )
