"""From a request and a budget to the plan that costs least and fits."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from eightgig.core.device import DeviceKind
from eightgig.core.errors import BudgetError
from eightgig.core.units import bytes_from_gib, format_bytes
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import Checkpointing, Finding, MemoryPlan, PhaseMemory, Precision
from eightgig.vram.predict import CUBLAS_WORKSPACE_BYTES, METHOD, Footprint

# Below it BatchNorm's statistics are too noisy to train well (Wu and He, Group Normalization, ECCV 2018, figure 1).
SMALLEST_GOOD_BATCH_FOR_BATCH_NORM = 8


@dataclass(frozen=True)
class PlanRequest:
    """What shall be trained, and what is known of it.

    Attributes:
        footprints: what the network takes, by checkpointing; the planner may choose among the keys.
    """

    model: str
    image_size: int
    micro_batch: int
    accumulation: int
    eval_batch: int
    precision: Precision
    device: DeviceKind
    device_name: str
    footprints: dict[Checkpointing, Footprint]

    @property
    def effective_batch(self) -> int:
        """Samples an optimizer step, which no plan changes."""
        return self.micro_batch * self.accumulation


@dataclass(frozen=True)
class _Candidate:
    request: PlanRequest
    parameters: PlanParameters
    micro_batch: int
    checkpointing: Checkpointing

    @property
    def footprint(self) -> Footprint:
        return self.request.footprints[self.checkpointing]

    @cached_property
    def phases(self) -> tuple[PhaseMemory, ...]:
        print_, device = self.footprint, self.request.device
        train = PhaseMemory(
            phase="train",
            device=device,
            parameters=print_.parameter_bytes,
            gradients=print_.gradient_bytes,
            optimizer=print_.optimizer_bytes,
            activations=print_.saved.at(self.micro_batch),
            workspace=2 * CUBLAS_WORKSPACE_BYTES if device == "cuda" else 0,
        )
        validate = PhaseMemory(  # the optimizer's state stays on the card while it validates; gradients are dropped
            phase="validate",
            device=device,
            parameters=print_.parameter_bytes,
            optimizer=print_.optimizer_bytes,
            activations=print_.widest.at(self.request.eval_batch),
            workspace=CUBLAS_WORKSPACE_BYTES if device == "cuda" else 0,
        )
        export = PhaseMemory(  # weights, the traced program's copy and the file's bytes, on the CPU
            phase="export",
            device="cpu",
            parameters=3 * print_.parameter_bytes,
            activations=print_.widest.at(1),
        )
        return train, validate, export

    @property
    def reserved_bytes(self) -> int:
        on_device = [phase.peak_bytes for phase in self.phases if phase.device == self.request.device]
        return round(max(on_device) * (1 + self.parameters.margin_fraction))


def make_plan(request: PlanRequest, parameters: PlanParameters) -> MemoryPlan:
    """Give the first plan that fits, in the order of what it costs: smaller micro-batches, then checkpointing.

    Raises:
        BudgetError: nothing fits; the message names the smallest budget that would.
    """
    context_bytes = bytes_from_gib(parameters.context_gib)
    budget_bytes = bytes_from_gib(parameters.budget_gib) - context_bytes
    candidates = list(_candidates(request, parameters))
    for candidate in candidates:
        if candidate.reserved_bytes <= budget_bytes:
            return _as_plan(candidate, budget_bytes, context_bytes)
    raise BudgetError(_nothing_fits(min(candidates, key=lambda c: c.reserved_bytes), budget_bytes, context_bytes))


def _candidates(request: PlanRequest, parameters: PlanParameters) -> Iterator[_Candidate]:
    sizes = [n for n in range(request.micro_batch, 0, -1) if request.effective_batch % n == 0]
    batch_norm = any(footprint.has_batch_norm for footprint in request.footprints.values())
    floor = min(SMALLEST_GOOD_BATCH_FOR_BATCH_NORM, request.micro_batch) if batch_norm else 1
    good, poor = [n for n in sizes if n >= floor], [n for n in sizes if n < floor]
    for some in (good, poor):
        for checkpointing in request.footprints:
            for size in some:
                yield _Candidate(request, parameters, size, checkpointing)


def _as_plan(chosen: _Candidate, budget_bytes: int, context_bytes: int) -> MemoryPlan:
    request = chosen.request
    on_cuda = request.device == "cuda"
    return MemoryPlan(
        model=request.model,
        image_size=request.image_size,
        device=request.device,
        device_name=request.device_name,
        micro_batch=chosen.micro_batch,
        accumulation=request.effective_batch // chosen.micro_batch,
        precision=request.precision,
        checkpointing=chosen.checkpointing,
        optimizer_kernel="fused" if on_cuda else "foreach",
        memory_format="channels_last",
        budget_gib=chosen.parameters.budget_gib,
        context_bytes=context_bytes,
        budget_bytes=budget_bytes,
        predicted=chosen.phases,
        predicted_reserved_bytes=chosen.reserved_bytes,
        margin_bytes=budget_bytes - chosen.reserved_bytes,
        fits=chosen.reserved_bytes <= budget_bytes,
        findings=tuple(_findings(chosen)),
        method=METHOD,
    )


def _findings(chosen: _Candidate) -> Iterator[Finding]:
    request, phases = chosen.request, {phase.phase: phase.peak_bytes for phase in chosen.phases}
    if chosen.micro_batch < request.micro_batch:
        yield Finding(
            code="VRAM001",
            message=f"micro-batch {request.micro_batch} does not fit: {chosen.micro_batch} with "
            f"{request.effective_batch // chosen.micro_batch} accumulation steps, the same effective batch of "
            f"{request.effective_batch}",
        )
    if chosen.checkpointing != "none":
        yield Finding(
            code="VRAM002",
            message="activations are recomputed in the backward pass (checkpointing): about a third more time a step",
        )
    if chosen.footprint.has_batch_norm and chosen.micro_batch < SMALLEST_GOOD_BATCH_FOR_BATCH_NORM:
        yield Finding(
            code="VRAM003",
            message=f"BatchNorm sees only {chosen.micro_batch} samples at a time: accumulation does not widen its "
            f"statistics, expect lower accuracy below {SMALLEST_GOOD_BATCH_FOR_BATCH_NORM}",
        )
    if phases["validate"] > phases["train"]:
        yield Finding(code="VRAM004", message="validation needs more memory than training: lower train.eval_batch_size")
    if request.device == "cpu":
        yield Finding(
            code="VRAM005",
            message="no GPU here: the plan is for the card of the budget, the run itself uses the CPU's memory",
        )


def _nothing_fits(smallest: _Candidate, budget_bytes: int, context_bytes: int) -> str:
    parts = ", ".join(
        f"{name} {format_bytes(size)}"
        for name, size in max(smallest.phases, key=lambda phase: phase.peak_bytes).parts.items()
        if size
    )
    needed = smallest.reserved_bytes + context_bytes
    return (
        f"{smallest.request.model} at {smallest.request.image_size} px does not fit: even micro-batch "
        f"{smallest.micro_batch} with checkpointing {smallest.checkpointing} needs "
        f"{format_bytes(smallest.reserved_bytes)} ({parts}); usable are {format_bytes(budget_bytes)} of the "
        f"{smallest.parameters.budget_gib:g} GiB budget. It would fit a card of {format_bytes(needed)} or more; "
        "or take a smaller image_size, or a smaller model."
    )
