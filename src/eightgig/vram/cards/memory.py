"""How much of a card's memory a run may take: of the budget, of what the card has, and of what others leave."""

from typing import Literal

from eightgig.core.records import Record

Limit = Literal["budget", "card", "free"]


class Share(Record):
    """What a run may take of a card, its CUDA context included, and what it is that allows no more."""

    num_bytes: int
    limit: Limit


class CardMemory(Record):
    """A card's memory as it is now, in bytes.

    Attributes:
        card: its name.
        total_bytes: as CUDA counts it; the driver keeps some of what is on the box.
        free_bytes: free for all programs; None where neither NVML nor CUDA says.
        reserved_bytes: held by torch's allocator of this process.
        context_bytes: held by this process beside it; 0 before it has a context, None where the driver does not say.
        spills: whether the driver moves tensors to main memory when the card is full, instead of failing.
    """

    card: str
    total_bytes: int
    free_bytes: int | None = None
    reserved_bytes: int = 0
    context_bytes: int | None = 0
    spills: bool = False

    def share(self, budget_bytes: int, planned_context_bytes: int) -> Share:
        """Return what a run with a budget may take: the memory planner and the cap at run time both ask this.

        No more than the card has. Where it spills, also no more than is free: what is beyond that would not fail, but
        be many times slower. Where it does not, what others hold now may be given back later, and if it is not, the
        step that runs out is done again with less; so there the budget stands.

        Args:
            budget_bytes: of the whole card, the CUDA context included.
            planned_context_bytes: stands in for this process's context where the driver does not say.
        """
        limits: dict[Limit, int] = {"budget": budget_bytes, "card": self.total_bytes}
        available = self.available_bytes(planned_context_bytes)
        if self.spills and available is not None:
            limits["free"] = available
        limit = min(limits, key=lambda name: limits[name])  # of equal ones the first
        return Share(num_bytes=limits[limit], limit=limit)

    def available_bytes(self, planned_context_bytes: int) -> int | None:
        """Return what this process can hold in all beside the others: what is free, and what it holds already."""
        if self.free_bytes is None:
            return None
        context = planned_context_bytes if self.context_bytes is None else self.context_bytes
        return self.free_bytes + self.reserved_bytes + context
