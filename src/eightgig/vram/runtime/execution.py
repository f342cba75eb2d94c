"""What a plan says holds while it is carried out: its budget, its attention, and how exactly the card computes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from eightgig.vram.plan import MemoryPlan, Numerics
from eightgig.vram.runtime.budget import EnforcedBudget, enforced_budget

EXACT = Numerics(tf32="never")
"""What a variant that is called fp32 is measured in: float32, and kernels that do not change from run to run."""


@contextmanager
def carrying_out(plan: MemoryPlan) -> Iterator[EnforcedBudget]:
    """Do as the plan says in the block; what was set before comes back, and memory is released.

    Raises:
        BudgetError: the budget is smaller than the CUDA context alone.
    """
    with enforced_budget(plan) as budget, planned_attention(plan), computing_as(plan.numerics):
        yield budget


def planned_attention(plan: MemoryPlan) -> AbstractContextManager[None]:
    """Return a context in which torch computes attention by the kernels that the plan counted on.

    `eager` is the one that keeps the whole matrix of scores; `sdpa` leaves the choice to torch. The setting is of the
    process, so autograd's threads, which recompute checkpointed blocks, have it too.
    """
    return sdpa_kernel(SDPBackend.MATH) if plan.attention == "eager" else nullcontext()


@contextmanager
def computing_as(numerics: Numerics) -> Iterator[None]:
    """Compute in this way in the block; what was set before comes back. On the CPU nothing is changed.

    TensorFloat-32, and whether cuDNN may try its kernels out, are decided here alone.

    Source: torch's notes on CUDA semantics (TensorFloat-32), torch.backends.cudnn.
    """
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    torch.set_float32_matmul_precision("high" if numerics.tf32 == "always" else "highest")
    cudnn.allow_tf32, cudnn.benchmark = numerics.tf32 != "never", numerics.cudnn_benchmark
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.benchmark = before[1], before[2]
