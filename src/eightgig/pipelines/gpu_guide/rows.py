"""From a plan to a row of the guide's table: memory, time of an epoch, and what limits it."""

from typing import TYPE_CHECKING

from eightgig.core.units import gib
from eightgig.pipelines.gpu_guide.parameters import WorkloadParameters
from eightgig.pipelines.gpu_guide.records import GuideRow, Limit
from eightgig.vram.cards.catalog import Card
from eightgig.vram.cards.roofline import Loader, loader_images_per_second

if TYPE_CHECKING:
    from eightgig.vram.plan import MemoryPlan


def row_of_plan(
    name: str, workload: WorkloadParameters, card: Card, plan: "MemoryPlan", *, cores: int, loader: Loader = "store"
) -> GuideRow:
    """Return the row of a workload for which a plan was found.

    Args:
        name: the workload's short name.
        workload: what was planned.
        card: the card it was planned for.
        plan: how it fits.
        cores: CPU cores that load data.
        loader: what the data are read from.
    """
    trains = workload.task == "train"
    seconds = (plan.seconds_per_step or 0.0) * workload.passes
    card_rate = workload.effective_batch / seconds
    loader_rate = loader_images_per_second(cores, loader) if workload.loads_images else None
    rate = min(card_rate, loader_rate) if loader_rate else card_rate
    return _row(name, workload, card, fits=plan.fits).model_copy(
        update={
            "micro_batch": plan.micro_batch,
            "gradient_accumulation_steps": plan.gradient_accumulation_steps,
            "precision": plan.precision,
            "attention": plan.attention,
            "activation_checkpointing": plan.activation_checkpointing,
            "offload": plan.offload,
            "optimizer_kernel": plan.optimizer_kernel if trains else None,
            "memory_gib": round(gib(plan.context_bytes + plan.needed_bytes), 2),
            "reserved_gib": round(gib(plan.context_bytes + plan.predicted_reserved_bytes), 2),
            "margin_gib": round(gib(plan.margin_bytes), 2),
            "fits_barely": plan.verdict == "fits barely",
            "weight_bytes": plan.phase("train").parameters if trains else None,
            "seconds_per_step": seconds,
            "samples_per_second": card_rate,
            "epoch_minutes": workload.samples_per_epoch / rate / 60 if workload.samples_per_epoch else None,
            "limit": _limit(plan, slower_loader=loader_rate is not None and loader_rate < card_rate),
            "findings": " ".join(finding.code for finding in plan.findings),
        }
    )


def row_that_does_not_fit(name: str, workload: WorkloadParameters, card: Card, why: str) -> GuideRow:
    """Return the row of a workload for which there is no plan, with the planner's words."""
    return _row(name, workload, card, fits=False).model_copy(update={"limit": "memory", "remark": why})


def row_without_plan(name: str, workload: WorkloadParameters, card: Card, why: str) -> GuideRow:
    """Return the row of a workload of which nothing could be predicted, with the reason."""
    return _row(name, workload, card, fits=False).model_copy(update={"remark": why})


def _row(name: str, workload: WorkloadParameters, card: Card, *, fits: bool) -> GuideRow:
    return GuideRow(
        name=name,
        title=workload.title,
        chapter=workload.chapter,
        card=card.name,
        sample=workload.sample,
        effective_batch=workload.effective_batch,
        loads_images=workload.loads_images,
        fits=fits,
        card_gib=card.memory_gib,
    )


def _limit(plan: "MemoryPlan", *, slower_loader: bool) -> Limit | None:
    # A plan that recomputes or moves activations is slower for want of memory, whatever its kernels wait for.
    if plan.activation_checkpointing != "none" or plan.offload:
        return "memory"
    return "loader" if slower_loader else plan.bottleneck
