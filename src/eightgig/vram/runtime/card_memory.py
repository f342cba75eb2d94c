"""The memory of the cards that a run uses, read from CUDA and NVML."""

from eightgig.core.spilling import spills_here
from eightgig.vram.cards.memory import CardMemory
from eightgig.vram.cards.nvml import driver_model_of, free_bytes_of, uuid_of
from eightgig.vram.runtime.context import held_beside, used_by_this_process


def memory_of_run(processes: int = 1) -> CardMemory:
    """Return the memory of the card that a run uses; of several, with a process each, that of the one with least.

    Where a full card spills, this process takes its context first, as it will for the run: what is free for it is what
    its context says (cudaMemGetInfo gives what the system grants, NVML what nobody holds). Several processes take
    theirs themselves.

    Args:
        processes: on this machine.
    """
    import torch

    if processes > 1:
        several = [card_memory(index) for index in range(min(processes, torch.cuda.device_count()))]
        return min(several, key=lambda memory: memory.share(memory.total_bytes, 0).num_bytes)
    memory = card_memory(torch.cuda.current_device())
    return open_card() if memory.spills else memory


def open_card() -> CardMemory:
    """Return the memory of torch's current card, with this process's context on it."""
    import torch

    torch.zeros(1, device="cuda")  # makes the context, which is there only from the first use on
    torch.cuda.empty_cache()
    return card_memory(torch.cuda.current_device())


def card_memory(index: int) -> CardMemory:
    """Return a card's memory as it is now; no context is made where this process has none.

    Args:
        index: of the card, as torch counts.
    """
    import torch

    properties, uuid = torch.cuda.get_device_properties(index), uuid_of(index)
    has_context = bool(torch._C._cuda_hasPrimaryContext(index))  # type: ignore[attr-defined]
    reserved_bytes = torch.cuda.memory_reserved(index) if has_context else 0
    return CardMemory(
        card=properties.name,
        total_bytes=properties.total_memory,
        free_bytes=torch.cuda.mem_get_info(index)[0] if has_context else free_bytes_of(uuid),
        reserved_bytes=reserved_bytes,
        context_bytes=held_beside(used_by_this_process(uuid), reserved_bytes) if has_context else 0,
        spills=spills_here(lambda: driver_model_of(uuid)),
    )
