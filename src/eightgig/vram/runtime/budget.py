"""The budget at run time: the caching allocator is told to stay below it, whatever the card has."""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from eightgig.core.errors import BudgetError
from eightgig.core.records import Record
from eightgig.core.units import bytes_from_gib, format_bytes, gib
from eightgig.vram.cards.memory import Limit, Share
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.card_memory import Context, context_to_keep, open_card

logger = logging.getLogger(__name__)
_GIVEN: dict[Limit, tuple[str, str]] = {
    "budget": ("plan.budget_gib gives", "raise plan.budget_gib"),
    "card": ("the card has", "take a larger card, or plan.device=cpu"),
    "free": ("other programs leave of the card", "end them (nvidia-smi and make doctor name them)"),
}


class EnforcedBudget(Record):
    """The cap that holds while a run trains; None on the CPU, where nothing is capped."""

    cap_bytes: int | None = None
    context: Context | None = None


@contextmanager
def enforced_budget(plan: MemoryPlan) -> Iterator[EnforcedBudget]:
    """Cap torch's CUDA allocator at the budget less the CUDA context; more is `torch.OutOfMemoryError`.

    So a claim made for an 8 GB card can be tested on a bigger one. Where the driver spills into main memory instead of
    failing, the cap is also no more than what is free. On the CPU nothing is capped. What earlier work left behind is
    released first, and what this work leaves at the end, when the cap that was set before comes back.

    Raises:
        BudgetError: the budget is smaller than the context alone.

    Source: torch.cuda.set_per_process_memory_fraction, which limits the caching allocator alone (not the context).
    """
    with cleared_memory(on_card=plan.device == "cuda"):
        if plan.device == "cuda":
            with _capped(plan) as budget:
                yield budget
        else:
            yield EnforcedBudget()


@contextmanager
def _capped(plan: MemoryPlan) -> Iterator[EnforcedBudget]:
    import torch

    memory = open_card()
    context = context_to_keep(memory.context_bytes, plan.context_bytes)
    share = memory.share(bytes_from_gib(plan.budget_gib), plan.context_bytes)
    cap_bytes = cap_of(share.num_bytes, context, memory.total_bytes, limit=share.limit)
    _log_cap(plan, context, cap_bytes, share)
    before = torch.cuda.get_per_process_memory_fraction()
    torch.cuda.set_per_process_memory_fraction(cap_bytes / memory.total_bytes)
    try:
        yield EnforcedBudget(cap_bytes=cap_bytes, context=context)
    finally:
        torch.cuda.set_per_process_memory_fraction(before)


@contextmanager
def cleared_memory(*, on_card: bool) -> Iterator[None]:
    """Free what earlier work left behind, and at the end what this work leaves.

    Collections within look at what this work has made alone. A process that has imported torch and transformers holds a
    million objects, and looking at all of them takes a second; those that are there now cannot become garbage unseen,
    since all are looked at again at the end.
    """
    release_memory(on_card=on_card)
    is_outermost = not gc.get_freeze_count()
    if is_outermost:
        gc.freeze()
    try:
        yield
    finally:
        if is_outermost:
            gc.unfreeze()
        release_memory(on_card=on_card)


def release_memory(*, on_card: bool) -> None:
    """Free what nobody uses any more, and give the allocator's cache back to the card.

    A network that was trained is part of reference cycles (accelerate replaces its `forward` and the optimizer's `step`
    by functions that know them), which only the garbage collector frees.
    """
    gc.collect()
    if on_card:
        import torch

        torch.cuda.empty_cache()


def cap_of(budget_bytes: int, context: Context, total_bytes: int, *, limit: Limit = "budget") -> int:
    """Return what torch's allocator may hold: the budget (or the whole card, if that is less) less the context.

    Args:
        budget_bytes: what the run may take of the card.
        context: what is taken off.
        total_bytes: of the card.
        limit: what decided `budget_bytes`.

    Raises:
        BudgetError: nothing is left.
    """
    cap_bytes = min(budget_bytes, total_bytes) - context.num_bytes
    if cap_bytes <= 0:
        given, way_out = _GIVEN[limit]
        raise BudgetError(
            f"{given} {format_bytes(min(budget_bytes, total_bytes))}, but the CUDA context alone takes "
            f"{format_bytes(context.num_bytes)} ({context.source}): {way_out}."
        )
    return cap_bytes


def _log_cap(plan: MemoryPlan, context: Context, cap_bytes: int, share: Share) -> None:
    logger.info(
        "torch may allocate %s: %s %.4g GiB less %s of CUDA context (%s)",
        format_bytes(cap_bytes),
        {"budget": "a budget of", "card": "the card has", "free": "other programs leave"}[share.limit],
        gib(share.num_bytes),
        format_bytes(context.num_bytes),
        "measured" if context.source == "measured" else "as planned: NVML does not tell, or sees less as yet",
    )
    if cap_bytes < plan.needed_bytes:
        logger.warning(
            "the plan needs %s and only %s are left: %s",
            format_bytes(plan.needed_bytes),
            format_bytes(cap_bytes),
            f"the CUDA context takes more than the {format_bytes(plan.context_bytes)} of plan.context_gib"
            if share.limit == "budget"
            else "the card had more when the plan was made; run the plan again (--tags plan)",
        )
