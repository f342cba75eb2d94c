"""The budget at run time: the caching allocator is told to stay below it, whatever the card has."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from eightgig.core.errors import BudgetError
from eightgig.core.records import Record
from eightgig.core.units import bytes_from_gib, format_bytes
from eightgig.vram.plan import MemoryPlan

logger = logging.getLogger(__name__)


class Context(Record):
    """What the driver and loaded kernels hold of the card beside torch's allocator.

    Attributes:
        source: `measured` through NVML, or `planned` where NVML does not say (Windows, some containers).
    """

    num_bytes: int
    source: Literal["measured", "planned"]


class EnforcedBudget(Record):
    """The cap that holds while a run trains; None on the CPU, where nothing is capped."""

    cap_bytes: int | None = None
    context: Context | None = None


@contextmanager
def enforced_budget(plan: MemoryPlan) -> Iterator[EnforcedBudget]:
    """Cap torch's CUDA allocator at the budget less the CUDA context; more is `torch.OutOfMemoryError`.

    So a claim made for an 8 GB card can be tested on a bigger one. On the CPU nothing is capped. The cap that was set
    before comes back at the end.

    Raises:
        BudgetError: the budget is smaller than the context alone.

    Source: torch.cuda.set_per_process_memory_fraction, which limits the caching allocator alone (not the context).
    """
    if plan.device != "cuda":
        yield EnforcedBudget()
        return
    import torch

    torch.zeros(1, device="cuda")  # makes the context, which is there only from the first use on
    torch.cuda.empty_cache()
    context = measured_context(plan.context_bytes)
    total_bytes = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    cap_bytes = cap_of(bytes_from_gib(plan.budget_gib), context, total_bytes)
    _say(plan, context, cap_bytes)
    before = torch.cuda.get_per_process_memory_fraction()
    torch.cuda.set_per_process_memory_fraction(cap_bytes / total_bytes)
    try:
        yield EnforcedBudget(cap_bytes=cap_bytes, context=context)
    finally:
        torch.cuda.set_per_process_memory_fraction(before)


def cap_of(budget_bytes: int, context: Context, total_bytes: int) -> int:
    """Give what torch's allocator may hold: the budget (or the whole card, if that is less) less the context.

    Raises:
        BudgetError: nothing is left.
    """
    cap_bytes = min(budget_bytes, total_bytes) - context.num_bytes
    if cap_bytes <= 0:
        raise BudgetError(
            f"plan.budget_gib gives {format_bytes(min(budget_bytes, total_bytes))}, but the CUDA context alone takes "
            f"{format_bytes(context.num_bytes)} ({context.source}): raise plan.budget_gib."
        )
    return cap_bytes


def measured_context(planned_bytes: int) -> Context:
    """Give the CUDA context of this process: what NVML says it uses, less what torch's allocator holds."""
    import torch

    used = used_by_this_process(f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}")
    return context_of(used, torch.cuda.memory_reserved(), planned_bytes)


def context_of(used_bytes: int | None, reserved_bytes: int, planned_bytes: int) -> Context:
    """Give the context from what the process uses of the card, or the planned one where that is not known."""
    if used_bytes is None or used_bytes <= reserved_bytes:
        return Context(num_bytes=planned_bytes, source="planned")
    return Context(num_bytes=used_bytes - reserved_bytes, source="measured")


def used_by_this_process(uuid: str) -> int | None:
    """Give the bytes that this process uses of the card with this UUID, or None where NVML does not say."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return own_bytes(pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByUUID(uuid)))
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def own_bytes(processes: Sequence[Any]) -> int | None:
    """Find this process in NVML's list (`pid`, `usedGpuMemory`), and give its bytes.

    In a container the numbers of processes are those of the host; but since this process has a context, a list of one
    is this one.
    """
    own = [process for process in processes if process.pid == os.getpid()]
    found = own or (processes if len(processes) == 1 else [])
    return found[0].usedGpuMemory if found else None


def _say(plan: MemoryPlan, context: Context, cap_bytes: int) -> None:
    logger.info(
        "torch may allocate %s: a budget of %g GiB less %s of CUDA context (%s)",
        format_bytes(cap_bytes),
        plan.budget_gib,
        format_bytes(context.num_bytes),
        "measured" if context.source == "measured" else "as planned, NVML does not tell",
    )
    if cap_bytes < plan.needed_bytes:
        logger.warning(
            "the plan needs %s and only %s are left: the CUDA context takes more than the %s of plan.context_gib",
            format_bytes(plan.needed_bytes),
            format_bytes(cap_bytes),
            format_bytes(plan.context_bytes),
        )
