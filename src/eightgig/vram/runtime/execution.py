"""What a plan says holds while it is carried out: its budget, its attention, and how exactly the card computes."""

from collections.abc import Iterator
from contextlib import contextmanager

from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.attention import planned_attention
from eightgig.vram.runtime.budget import EnforcedBudget, enforced_budget
from eightgig.vram.runtime.numerics import computing_as


@contextmanager
def carrying_out(plan: MemoryPlan) -> Iterator[EnforcedBudget]:
    """Do as the plan says in the block; what was set before comes back, and memory is released.

    Raises:
        BudgetError: the budget is smaller than the CUDA context alone.
    """
    with enforced_budget(plan) as budget, planned_attention(plan), computing_as(plan.numerics):
        yield budget
