"""What a person should know about a plan: one function a finding, each with a code that does not change.

Each code has a paragraph in docs/memory.md and a test in tests/vram/test_findings.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

from eightgig.core.units import bytes_from_gib, format_bytes, gib
from eightgig.vram.cards.memory import CardMemory
from eightgig.vram.plan import Finding, MemoryPlan
from eightgig.vram.planning.request import PlanRequest

# Below it BatchNorm's statistics are too noisy to train well (Wu and He, Group Normalization, ECCV 2018, figure 1).
BATCH_NORM_FLOOR = 8
_TIGHT_FRACTION = 0.03  # of 7.5 GiB some 230 MiB, as much as a browser takes of the card
_ONE_OWNER_FRACTION = 0.25  # less of the peak saves too little to say so


@dataclass(frozen=True)
class PlanCheck:
    """A plan beside what was asked for.

    Attributes:
        batch_norm: whether the network uses the batch's own statistics.
        budget_gib: that was asked for.
        predicted_as: what the prediction takes for something else.
    """

    plan: MemoryPlan
    request: PlanRequest
    batch_norm: bool
    budget_gib: float
    predicted_as: tuple[str, ...] = ()


def findings_of(asked: PlanCheck) -> tuple[Finding, ...]:
    """Return all findings of a plan, in the order of their codes."""
    found = ((code, check(asked)) for code, check in FINDINGS.items())
    return tuple(Finding(code=code, message=message) for code, message in found if message)


def smaller_micro_batch(asked: PlanCheck) -> str | None:
    """The micro-batch that was asked for does not fit."""
    plan = asked.plan
    if plan.micro_batch >= asked.request.micro_batch:
        return None
    return (
        f"micro-batch {asked.request.micro_batch} does not fit: {plan.micro_batch} with "
        f"{plan.gradient_accumulation_steps} accumulation "
        f"steps, the same effective batch of {plan.effective_batch}"
    )


def full_checkpointing(asked: PlanCheck) -> str | None:
    """Whole blocks are computed twice."""
    if asked.plan.activation_checkpointing != "full":
        return None
    return f"whole blocks are recomputed in the backward pass (checkpointing){_price(asked.plan)}"


def small_batch_for_batch_norm(asked: PlanCheck) -> str | None:
    """BatchNorm sees too few samples."""
    if not asked.batch_norm or asked.plan.micro_batch >= BATCH_NORM_FLOOR:
        return None
    return (
        f"BatchNorm sees only {asked.plan.micro_batch} samples at a time: accumulation does not widen its statistics, "
        f"expect lower accuracy below {BATCH_NORM_FLOOR}"
    )


def validation_is_largest(asked: PlanCheck) -> str | None:
    """Validation needs more than training, or had to be made smaller."""
    plan = asked.plan
    phases = {phase.phase: phase for phase in plan.predicted}
    if "train" not in phases:
        return None
    if plan.eval_batch < asked.request.eval_batch:
        return f"validation with {asked.request.eval_batch} samples at a time does not fit: {plan.eval_batch} at a time"
    if phases["validate"].min_memory_limit_bytes <= phases["train"].min_memory_limit_bytes:
        return None
    return "validation needs more memory than training: a lower train.eval_batch_size costs nothing but a little time"


def no_gpu(asked: PlanCheck) -> str | None:
    """The run does not use the card that it is planned for."""
    if asked.plan.device != "cpu":
        return None
    return "no GPU here: the plan is for the card of the budget, the run itself uses the CPU's memory"


def selective_checkpointing(asked: PlanCheck) -> str | None:
    """Cheap ops are computed twice."""
    if asked.plan.activation_checkpointing != "selective":
        return None
    return f"normalisation and activations are recomputed in the backward pass{_price(asked.plan)}"


def offloading(asked: PlanCheck) -> str | None:
    """Activations travel over PCI Express."""
    if not asked.plan.offload:
        return None
    return (
        "activations wait in the machine's memory: each crosses PCI Express twice a step, and as much pinned memory of "
        "the machine is taken"
    )


def tight(asked: PlanCheck) -> str | None:
    """Little is left."""
    plan = asked.plan
    if not 0 <= plan.margin_bytes <= _TIGHT_FRACTION * plan.budget_bytes:
        return None
    return (
        f"only {format_bytes(plan.margin_bytes)} are left beside what is planned for: close what else uses the card, "
        "or set train.batch_size lower"
    )


def fragments(asked: PlanCheck) -> str | None:
    """The allocator would like more than there is."""
    plan = asked.plan
    if plan.predicted_reserved_bytes <= plan.budget_bytes:
        return None
    return (
        f"the allocator would reserve {format_bytes(plan.predicted_reserved_bytes)} where "
        f"{format_bytes(plan.budget_bytes)} are usable: it will give segments back and ask again, which costs a little "
        "time; PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True avoids most of it"
    )


def one_owner(asked: PlanCheck) -> str | None:
    """One module's activations are a large share of the whole."""
    plan = asked.plan
    peak = max(phase.peak_bytes for phase in plan.predicted)
    named = [row for row in plan.largest if "/" in row.owner and row.num_bytes > _ONE_OWNER_FRACTION * peak]
    if not named:
        return None
    return (
        f"{named[0].owner} alone holds {format_bytes(named[0].num_bytes)} of {format_bytes(peak)} at the peak: look "
        "there first to save"
    )


def optimizer_in_backward(asked: PlanCheck) -> str | None:
    """Weights change while the backward pass runs."""
    if not asked.plan.optimizer_in_backward:
        return None
    return (
        "weights are stepped while the backward pass runs, so that gradients are never all there: where memory runs "
        "out in that pass, or gradients are not finite, the run ends instead of going on"
    )


def several_processes(asked: PlanCheck) -> str | None:
    """Part of what the exchange of gradients takes is not in the plan."""
    if asked.plan.processes == 1:
        return None
    return (
        f"memory is that of one of {asked.plan.processes} processes, on a card of its own; the buffers of NCCL, which "
        "lie outside of torch's allocator, are not counted and have not been measured"
    )


def several_stages(asked: PlanCheck) -> str | None:
    """Each card has some layers of the network; what crosses between them, and how long cards wait."""
    stages, request = asked.plan.stages, asked.request.stages
    if not stages or request is None:
        return None
    each = ", ".join(f"{format_bytes(stage.expected_bytes)} of {stage.budget_gib:g} GiB" for stage in stages)
    crossing = format_bytes(sum(stage.handed_bytes for stage in stages))
    micro_batches = asked.plan.gradient_accumulation_steps
    working = 1 / len(stages)
    if request.order != "one_at_a_time":
        working = micro_batches / (micro_batches + len(stages) - 1)
    return (
        f"the layers are spread over {len(stages)} cards, which need {each}; a micro-batch hands over {crossing}, and "
        f"as much comes back as gradients; with {micro_batches} micro-batches a step each card waits at least "
        f"{1 - working:.0%} of the time for the others"
    )


def less_than_the_budget(asked: PlanCheck) -> str | None:
    """The card of this machine has less than the budget, or less of it is free where a full card spills."""
    if asked.request.memory is None:
        return None
    return limit_of_budget(asked.budget_gib, asked.request.memory, asked.plan.context_bytes)


def limit_of_budget(asked_gib: float, memory: CardMemory, context_bytes: int) -> str | None:
    """Return why a plan is for less than the budget that was asked for; None where it is not.

    Args:
        asked_gib: the budget.
        memory: of the card.
        context_bytes: planned.
    """
    share = memory.share(bytes_from_gib(asked_gib), context_bytes)
    if share.limit == "budget":
        return None
    asked, there = f"plan.budget_gib asks for {asked_gib:g} GiB", f"{gib(share.num_bytes):.2f} GiB"
    if share.limit == "card":
        return f"{asked}, but the {memory.card} has {there} for programs: the plan and the run's cap are for that"
    return (
        f"{asked}, but {there} of the {memory.card} are free, and beyond that its driver would move tensors to main "
        "memory: the plan and the run's cap are for what is free; close programs that use the card to have more"
    )


def shared_card(asked: PlanCheck) -> str | None:
    """Other programs hold what the plan needs."""
    plan, memory = asked.plan, asked.request.memory
    if memory is None:
        return None
    available, needed = memory.available_bytes(plan.context_bytes), plan.needed_bytes + plan.context_bytes
    if available is None or needed <= available:
        return None
    return (
        f"{format_bytes(needed)} are planned with the CUDA context, but other programs leave only "
        f"{format_bytes(available)} of the {memory.card}: end them (make doctor names them), or lower plan.budget_gib; "
        "a step that runs out is done again with a smaller micro-batch"
    )


def predicted_as(asked: PlanCheck) -> str | None:
    """Something in the network is predicted as something else."""
    return "; ".join(asked.predicted_as) or None


def fits_barely(asked: PlanCheck) -> str | None:
    """It fits as predicted, but not with the error that predictions of its kind have."""
    plan = asked.plan
    if plan.verdict != "fits barely":
        return None
    return (
        f"{format_bytes(plan.expected_bytes)} are expected of {format_bytes(plan.budget_bytes)}, but runs may need up "
        f"to {format_bytes(plan.needed_bytes)}: a step that runs out is done again with a smaller micro-batch; close "
        "what else uses the card, or take smaller samples to be sure"
    )


def _price(plan: MemoryPlan) -> str:
    """How much longer a step takes than without, where the roofline knows both."""
    bare = [c.seconds_per_step for c in plan.considered if c.activation_checkpointing == "none" and c.seconds_per_step]
    if not bare or not plan.seconds_per_step:
        return ": up to a third more time a step"
    return f": about {max(0.0, plan.seconds_per_step / min(bare) - 1):.0%} more time a step"


FINDINGS: dict[str, Callable[[PlanCheck], str | None]] = {
    "VRAM001": smaller_micro_batch,
    "VRAM002": full_checkpointing,
    "VRAM003": small_batch_for_batch_norm,
    "VRAM004": validation_is_largest,
    "VRAM005": no_gpu,
    "VRAM006": selective_checkpointing,
    "VRAM007": offloading,
    "VRAM008": tight,
    "VRAM009": fragments,
    "VRAM010": one_owner,
    "VRAM011": optimizer_in_backward,
    "VRAM012": several_processes,
    "VRAM013": less_than_the_budget,
    "VRAM014": shared_card,
    "VRAM015": predicted_as,
    "VRAM016": fits_barely,
    "VRAM017": several_stages,
}
