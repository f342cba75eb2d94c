"""Attention as the plan says, while training."""

from contextlib import AbstractContextManager, nullcontext

from torch.nn.attention import SDPBackend, sdpa_kernel

from eightgig.vram.plan import MemoryPlan


def planned_attention(plan: MemoryPlan) -> AbstractContextManager[None]:
    """Return a context in which torch computes attention by the kernels that the plan counted on.

    `eager` is the one that keeps the whole matrix of scores; `sdpa` leaves the choice to torch. The setting is of the
    process, so autograd's threads, which recompute checkpointed blocks, have it too.
    """
    return sdpa_kernel(SDPBackend.MATH) if plan.attention == "eager" else nullcontext()
