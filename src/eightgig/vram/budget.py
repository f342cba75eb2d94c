"""The budget at run time: the caching allocator is told to stay below it, whatever the card has."""

from collections.abc import Iterator
from contextlib import contextmanager

from eightgig.vram.plan import MemoryPlan


@contextmanager
def enforced_budget(plan: MemoryPlan) -> Iterator[None]:
    """Cap torch's CUDA allocator at the plan's budget while the block runs; more is `torch.OutOfMemoryError`.

    So a claim made for an 8 GB card can be tested on a bigger one. On the CPU nothing is capped.

    Source: torch.cuda.set_per_process_memory_fraction, which limits the caching allocator alone (not the context).
    """
    if plan.device != "cuda":
        yield
        return
    import torch

    total_bytes = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, plan.budget_bytes / total_bytes))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
