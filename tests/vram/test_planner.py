"""The planner by hand arithmetic: which plan, at which effective batch, with which findings."""

import pytest

from eightgig.core.errors import BudgetError, ConfigurationError, PredictionError
from eightgig.core.units import GIB, MIB
from eightgig.vram.allocator.events import AllocationTrace, OpCost
from eightgig.vram.cards.catalog import card_named
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import MemoryPlan, StepConfig
from eightgig.vram.planning.planner import make_plan
from eightgig.vram.planning.request import PlanRequest
from eightgig.vram.tracing.prediction import Prediction
from eightgig.vram.tracing.spec import WorkloadSpec

STATIC = 400  # MiB: weights 100, gradients 100, AdamW 200


class StraightLines:
    """Stands for the predictor: memory is 400 MiB and so many MiB a sample, by level of checkpointing."""

    of_weights = ()  # nothing is known of them

    def __init__(self, none=100, selective=60, full=20, offload=5, validate=1, *, batch_norm=True, untraceable=()):
        self.mib = {"none": none, "selective": selective, "full": full, "offload": offload, "validate": validate}
        self.batch_norm, self.untraceable = batch_norm, untraceable
        self.asked = []

    def predict(self, workload, options, *, generation):
        self.asked.append(options)
        if options.activation_checkpointing in self.untraceable:
            raise PredictionError("this network cannot be recomputed in part")
        level = "offload" if options.offload else options.activation_checkpointing
        validates = options.phase == "validate"
        activations = self.mib["validate" if validates else level] * options.micro_batch * MIB
        held = {"parameters": 100 * MIB, "temporaries" if validates else "activations": activations}
        if not validates:
            held |= {"gradients": (0 if options.optimizer_in_backward else 100) * MIB, "optimizer": 200 * MIB}
        total = sum(held.values())
        return Prediction(
            phase=options.phase,
            peak_allocated=total,
            peak_reserved=round(1.1 * total),
            min_memory_limit=total,
            num_segments=1,
            fragmentation=0.1,
            at_peak=held,
            largest=(),
            timeline=(),
            kind="convolutions",
            error_above=0.1,
        )

    def trace(self, workload, options):
        return AllocationTrace((), {}, {}, (), has_batch_norm=self.batch_norm)

    def weights(self, workload, *, looks_at_loss=False):
        return self.of_weights

    def costs(self, workload, options):
        recomputed = {"none": 1.0, "selective": 1.1, "full": 1.3}[options.activation_checkpointing]
        return (OpCost("mm", "forward", int(1e12 * recomputed * options.micro_batch), 1, "fp16"),)

    def context_bytes(self, generation):
        return GIB // 2


def request(**changes):
    asked = {
        "name": "net",
        "workload": WorkloadSpec(factory="nowhere:make"),
        "sample": "300 px",
        "effective_batch": 128,
        "micro_batch": 32,
        "eval_batch": 64,
        "device": "cuda",
        "device_name": "card",
        "card": card_named("RTX 3070"),
    }
    return PlanRequest(**{**asked, **changes})


def plan(lines, budget_gib, asked=None, **parameters):
    parameters = {"margin_fraction": 0.0, "budget_gib": budget_gib, **parameters}
    return make_plan(asked or request(), PlanParameters(**parameters), predictor=lines)


def codes(made):
    return [finding.code for finding in made.findings]


def test_what_fits_is_left_alone():
    lines = StraightLines()
    made = plan(lines, 8)
    assert (made.micro_batch, made.gradient_accumulation_steps, made.activation_checkpointing, made.fits) == (
        32,
        4,
        "none",
        True,
    )
    assert made.needed_bytes == made.phase("train").min_memory_limit_bytes == (STATIC + 3200) * MIB
    assert made.margin_bytes == round(7.5 * GIB) - (STATIC + 3200) * MIB
    assert codes(made) == []
    assert len(made.considered) == 1
    assert lines.asked[0].accumulates


def test_the_margin_is_added_to_what_is_needed():
    assert plan(StraightLines(), 8, margin_fraction=0.05).needed_bytes == round(3600 * MIB * 1.05)


def test_what_is_planned_for_is_the_range_of_its_kind_where_no_margin_is_asked_for():
    made = plan(StraightLines(), 8, margin_fraction=None)
    assert (made.expected_bytes, made.needed_bytes) == (3600 * MIB, round(3600 * MIB * 1.1))
    assert (made.verdict, made.phase("train").upper_limit_bytes) == ("fits", made.needed_bytes)


def test_what_fits_inside_the_range_alone_is_planned_and_told():
    # 800 MiB are usable; 400 + 392 are expected, and a tenth more may be needed.
    lines = StraightLines(none=392, selective=392, full=392, batch_norm=False)
    made = plan(
        lines, 0.5 + 800 / 1024, request(micro_batch=1, effective_batch=8), offload="never", margin_fraction=None
    )
    assert (made.expected_bytes, made.needed_bytes) == (792 * MIB, round(792 * MIB * 1.1))
    assert (made.fits, made.verdict, made.margin_bytes < 0) == (True, "fits barely", True)
    assert "VRAM016" in codes(made)
    assert "fits barely" in made.sentence()


def test_a_way_that_surely_fits_comes_before_one_that_fits_barely():
    made = plan(StraightLines(), 0.5 + 3700 / 1024, margin_fraction=None)  # 3600 are expected of the first, up to 3960
    assert (made.micro_batch, made.verdict) == (16, "fits")


def test_a_context_that_is_given_is_taken_off_the_budget():
    made = plan(StraightLines(), 8, context_gib=1.5)
    assert (made.context_bytes, made.budget_bytes) == (1.5 * GIB, 6.5 * GIB)


def test_a_smaller_micro_batch_comes_first_at_the_same_effective_batch():
    made = plan(StraightLines(), 2.8)  # 2.3 GiB usable = 2355 MiB: 400 + 16 x 100 fits, 400 + 32 x 100 does not
    assert (made.micro_batch, made.gradient_accumulation_steps, made.activation_checkpointing) == (16, 8, "none")
    assert made.effective_batch == 128
    assert codes(made) == ["VRAM001"]
    assert made.findings[0].message == (
        "micro-batch 32 does not fit: 16 with 8 accumulation steps, the same effective batch of 128"
    )


def test_a_micro_batch_that_takes_the_budget_to_the_byte_is_taken():
    made = plan(StraightLines(), 0.5 + 2000 / 1024)  # 2000 MiB usable: 400 + 16 x 100
    assert (made.micro_batch, made.margin_bytes, made.fits) == (16, 0, True)


def test_recomputing_comes_before_a_batch_that_starves_batch_norm():
    # 1126 MiB: 400 + 8 x 100 does not fit; selective 400 + 8 x 60 does, and no larger one; 16 x 60 + 400 is too much.
    made = plan(StraightLines(), 1.6)
    assert (made.micro_batch, made.activation_checkpointing) == (8, "selective")
    assert codes(made) == ["VRAM001", "VRAM006"]
    assert "10% more time a step" in made.findings[1].message


def test_whole_blocks_come_after_cheap_ops():
    made = plan(StraightLines(selective=99), 1.65)  # 1177 MiB: 400 + 32 x 20, and no level above at 8
    assert (made.micro_batch, made.activation_checkpointing) == (32, "full")
    assert codes(made) == ["VRAM002"]
    assert "30% more time a step" in made.findings[0].message


def test_offloading_comes_last():
    made = plan(StraightLines(500, 500, 500), 1.2)  # 716 MiB: 400 + 500 does not fit, 400 + 32 x 5 does
    assert (made.micro_batch, made.activation_checkpointing, made.offload) == (32, "full", True)
    assert codes(made) == ["VRAM002", "VRAM007"]


def test_a_batch_that_starves_batch_norm_comes_before_offloading():
    made = plan(StraightLines(selective=100, full=99), 1.2)
    assert (made.micro_batch, made.activation_checkpointing, made.offload) == (2, "none", False)
    assert "VRAM003" in codes(made)


def test_offloading_may_be_refused():
    with pytest.raises(BudgetError, match=r"does not fit 1\.2 GiB"):
        plan(StraightLines(500, 500, 500), 1.2, offload="never")


def test_a_starved_batch_norm_is_a_finding():
    made = plan(StraightLines(500, 500, 500, 500), 2.4)  # 1946 MiB: 400 + 2 x 500
    assert made.micro_batch == 2
    assert codes(made) == ["VRAM001", "VRAM003"]
    assert "BatchNorm sees only 2 samples" in made.findings[1].message


def test_without_batch_norm_micro_batch_one_comes_before_recomputing():
    made = plan(StraightLines(batch_norm=False), 1.1)  # 614 MiB
    assert (made.micro_batch, made.activation_checkpointing) == (2, "none")


def test_only_divisors_of_the_effective_batch_are_taken():
    made = plan(StraightLines(batch_norm=False), 8, request(effective_batch=60, micro_batch=60))  # 73 would fit
    assert made.micro_batch * made.gradient_accumulation_steps == 60


def test_the_largest_that_fits_is_found_where_memory_is_no_straight_line():
    class Bent(StraightLines):
        def predict(self, workload, options, *, generation):
            made = super().predict(workload, options, generation=generation)
            extra = 900 * MIB if options.micro_batch == 16 and options.phase == "train" else 0
            return made.model_copy(update={"min_memory_limit": made.min_memory_limit + extra})

    made = plan(Bent(), 2.6)  # 16 would fit on the line, and does not
    assert (made.micro_batch, made.activation_checkpointing) == (8, "none")


def test_a_level_at_which_one_sample_is_too_much_is_left_after_its_first_trace():
    lines = StraightLines(500, 400, 20, batch_norm=False)
    made = plan(lines, 1.2)  # 716 MiB usable: 400 + 500 and 400 + 400 do not fit, as 400 + 32 x 500 / 32 says already
    assert (made.micro_batch, made.activation_checkpointing) == (8, "full")
    tried = [(options.activation_checkpointing, options.micro_batch) for options in lines.asked]
    assert {size for level, size in tried if level == "none" and size != 64} == {32}
    assert {size for level, size in tried if level == "selective"} == {32}


def test_a_search_that_lasts_says_what_it_tried(caplog, monkeypatch):
    times = iter([0.0, 1.0, 2.5, 3.0])  # as it begins, and at each trace
    monkeypatch.setattr("eightgig.vram.planning.progress.monotonic", lambda: next(times))
    with caplog.at_level("INFO", "eightgig.vram.planning.progress"):
        plan(StraightLines(), 3.1, request(effective_batch=32, micro_batch=32, clips_gradients=True))
    assert caplog.messages == [  # 32 was too early
        "plan: micro-batch 8, checkpointing none: 1.2 GiB needed of 2.6 GiB",
        "plan: micro-batch 16, checkpointing none: 2.0 GiB needed of 2.6 GiB",
    ]


def test_a_level_that_cannot_be_traced_is_passed_over():
    made = plan(StraightLines(untraceable=("selective",)), 1.6)
    assert (made.micro_batch, made.activation_checkpointing) == (32, "full")


def test_a_network_that_cannot_be_traced_says_so():
    with pytest.raises(PredictionError, match="cannot be recomputed in part"):
        plan(StraightLines(untraceable=("none", "selective", "full")), 8)


def test_validation_is_made_smaller_where_it_does_not_fit():
    made = plan(StraightLines(validate=100), 6)  # 5632 MiB: 300 and 64 x 100 does not fit, 32 x 100 does
    assert made.eval_batch == 32
    assert codes(made) == ["VRAM004"]
    assert made.findings[0].message == "validation with 64 samples at a time does not fit: 32 at a time"


def test_validation_holds_the_optimizers_state_and_no_gradients():
    validate = plan(StraightLines(), 8).phase("validate")
    assert (validate.optimizer, validate.gradients, validate.temporaries) == (200 * MIB, 0, 64 * MIB)
    assert validate.min_memory_limit_bytes == 364 * MIB


def test_saving_and_export_are_in_the_plan():
    made = plan(StraightLines(), 8)
    assert made.phase("checkpoint").peak_bytes == 300 * MIB
    assert made.phase("export").device == "cpu"


def test_nothing_fits_names_the_nearest_and_the_card_for_it():
    with pytest.raises(BudgetError) as raised:
        plan(StraightLines(9000, 9000, 9000, 9000), 8)
    message = str(raised.value)
    assert message.startswith("net at 300 px does not fit 8 GiB: the nearest, micro-batch 1 x 128, fp16")
    assert "needs 9.2 GiB" in message
    assert "usable are 7.5 GiB, short of 1.7 GiB" in message
    assert "It fits a card of 9.7 GiB or more, such as the RTX 3080 (10 GiB)" in message


def test_nothing_fits_any_card():
    with pytest.raises(BudgetError, match=r"no card of the catalog: it takes 9\d\d\.\d GiB"):
        plan(StraightLines(999_000, 999_000, 999_000, 999_000), 8)


def test_a_level_that_is_asked_for_is_taken():
    assert plan(StraightLines(), 8, activation_checkpointing="full").activation_checkpointing == "full"


def test_the_fastest_precision_that_is_allowed():
    assert plan(StraightLines(), 8, request(precisions=("fp32", "bf16"))).precision == "bf16"


WITHOUT_HINDRANCE = {
    "effective_batch": 8,
    "micro_batch": 8,
    "clips_gradients": False,
    "precisions": ("fp16", "bf16"),
}


def little(**parameters):
    """400 MiB are usable: one sample needs 410 with all gradients, eight need 380 without."""
    lines = StraightLines(full=10, batch_norm=False)
    return plan(lines, 0.5 + 400 / 1024, request(**WITHOUT_HINDRANCE), **parameters)


def test_the_optimizer_goes_into_the_backward_pass_where_recomputing_is_not_enough():
    made = little()
    assert (made.micro_batch, made.gradient_accumulation_steps, made.activation_checkpointing, made.precision) == (
        8,
        1,
        "full",
        "bf16",
    )
    assert made.optimizer_in_backward
    assert made.needed_bytes == 380 * MIB
    assert "VRAM011" in codes(made)
    assert ", optimizer in the backward pass: 380.0 MiB" in made.sentence()


def test_it_does_not_where_it_may_not():
    with pytest.raises(BudgetError):
        little(optimizer_in_backward="never")


def test_it_does_not_where_it_need_not():
    made = plan(StraightLines(), 8, request(**WITHOUT_HINDRANCE))
    assert (made.optimizer_in_backward, made.precision) == (False, "fp16")


def test_it_does_where_it_must():
    made = plan(StraightLines(), 8, request(**WITHOUT_HINDRANCE), optimizer_in_backward="always")
    assert (made.optimizer_in_backward, made.activation_checkpointing, made.precision) == (True, "none", "bf16")
    assert made.needed_bytes == (300 + 800) * MIB


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"effective_batch": 16}, "train.gradient_accumulation_steps: 1"),
        ({"clips_gradients": True}, "train.max_grad_norm: null"),
        ({"precisions": ("fp16",)}, "plan.precision: bf16"),
    ],
)
def test_what_needs_all_gradients_at_once_hinders_it(changes, said):
    asked = request(**{**WITHOUT_HINDRANCE, **changes})
    with pytest.raises(ConfigurationError, match=f"does not go with this recipe: .*{said}"):
        plan(StraightLines(), 8, asked, optimizer_in_backward="always")


@pytest.mark.parametrize(
    ("device", "optimizer", "kernel"),
    [
        ("cuda", "adamw", "fused"),
        ("cuda", "sgd", "foreach"),
        ("cpu", "adamw", "fused"),
        ("cpu", "sgd", "foreach"),
    ],
)
def test_the_optimizers_kernel(device, optimizer, kernel):
    made = plan(StraightLines(), 8, request(device=device, optimizer=optimizer))
    assert made.optimizer_kernel == kernel


def test_no_gpu_is_a_finding_and_nothing_is_offloaded():
    made = plan(StraightLines(), 8, request(device="cpu"))
    assert codes(made) == ["VRAM005"]


def test_inference_alone():
    made = plan(StraightLines(), 8, request(task="infer", micro_batch=16, effective_batch=16))
    assert [phase.phase for phase in made.predicted] == ["validate"]
    assert made.needed_bytes == 116 * MIB


def test_inference_that_does_not_fit():
    with pytest.raises(BudgetError, match="does not fit 1 GiB"):
        plan(StraightLines(validate=1000), 1, request(task="infer", micro_batch=16, effective_batch=16))


def test_time_is_by_the_card_of_the_request():
    fast, slow = (plan(StraightLines(), 8, request(card=card_named(name))) for name in ("RTX 3090", "RTX 3070"))
    assert fast.seconds_per_step < slow.seconds_per_step
    assert plan(StraightLines(), 8, request(card=None)).seconds_per_step is None


def test_a_text_is_written_one_at_a_time_in_the_weights_own_precision():
    lines = StraightLines()
    made = plan(lines, 8, request(generation_workload=WorkloadSpec(factory="nowhere:write")))
    (writing,) = (options for options in lines.asked if options.precision == "fp32")
    assert (writing.phase, writing.micro_batch) == ("validate", 1)
    assert made.phase("generate").model_dump(include={"device", "parameters", "temporaries", "optimizer"}) == {
        "device": "cuda",
        "parameters": 100 * MIB,
        "temporaries": 1 * MIB,
        "optimizer": 0,
    }


@pytest.mark.parametrize(
    ("changes", "loss_scale"),
    [
        ({"precisions": ("fp16",), "loss_scale": 1024.0}, 1024.0),
        ({"precisions": ("bf16",)}, None),
        ({"precisions": ("fp16",), "task": "infer", "effective_batch": 32}, None),
    ],
)
def test_only_training_in_fp16_scales_its_loss(changes, loss_scale):
    assert plan(StraightLines(), 8, request(**changes)).loss_scale == loss_scale


def test_a_plan_names_its_card_and_its_layout():
    made = plan(StraightLines(), 8)
    assert (made.card, made.device_name, made.memory_format) == ("RTX 3070", "card", "contiguous")
    assert plan(StraightLines(), 8, request(card=None)).card is None


def test_a_request_for_a_card_that_need_not_be_there():
    asked = PlanRequest.for_card(
        "RTX 4070",
        "mymodel:make",
        batch_size=48,
        precisions=("bf16", "fp32"),
        optimizer="sgd",
        clips_gradients=False,
        channels_last=True,
    )
    assert asked == PlanRequest(
        name="mymodel:make",
        workload=WorkloadSpec(factory="mymodel:make"),
        sample="one sample",
        effective_batch=48,
        micro_batch=48,
        eval_batch=48,
        precisions=("bf16", "fp32"),
        optimizer="sgd",
        clips_gradients=False,
        channels_last=True,
        device="cuda",
        device_name="RTX 4070",
        card=card_named("RTX 4070"),
    )
    plain = PlanRequest.for_card("RTX 4070", "mymodel:make", batch_size=48)
    assert (plain.precisions, plain.optimizer, plain.clips_gradients, plain.channels_last) == (
        ("fp16",),
        "adamw",
        True,
        False,
    )


def test_a_plan_survives_json():
    made = plan(StraightLines(), 1.6)
    assert MemoryPlan.model_validate_json(made.model_dump_json()) == made


def test_what_was_considered_last_is_the_plans_own_step():
    made = plan(StraightLines(), 2.8, request(channels_last=True, optimizer="adam"), attention="eager")
    assert [StepConfig.from_records(way) == StepConfig.from_records(made) for way in made.considered] == [
        *[False] * (len(made.considered) - 1),
        True,
    ]
    assert (made.memory_format, made.optimizer, made.attention) == ("channels_last", "adam", "eager")


def test_steps_that_take_the_same_are_traced_once():
    asked = request()
    step = asked.step(8, "fp16")
    several, two, of_processes, one = (
        asked.options(step.model_copy(update={"gradient_accumulation_steps": steps, "processes": processes}))
        for steps, processes in ((16, 1), (2, 1), (1, 2), (1, 1))
    )
    assert several == two == of_processes != one
    assert several.without_gradients(4) == one.without_gradients(4)


def test_the_sentence_says_it_all():
    assert plan(StraightLines(), 8).sentence() == (
        "micro-batch 32 x 4 accumulation, fp16, checkpointing none: 3.5 GiB expected, 3.5 GiB planned for, of "
        "7.5 GiB usable on a 8 GiB card: fits, 4.0 GiB to spare"
    )
