"""The memory of the cards that a run uses, and the CUDA context of this process on them, read from CUDA and NVML."""

import os
from collections.abc import Sequence
from typing import Any, Literal

from eightgig.core.records import Record
from eightgig.core.spilling import spills_here
from eightgig.vram.cards.memory import CardMemory
from eightgig.vram.cards.nvml import ask_nvml, driver_model_of, free_bytes_of, handle_of, uuid_of


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


class Context(Record):
    """What the driver and loaded kernels hold of the card beside torch's allocator.

    Attributes:
        source: `measured` through NVML, or `planned` where NVML does not say (Windows, some containers) or where less
            is held now than will be: cuDNN's and cuBLAS's kernels are loaded when they are first used.
    """

    num_bytes: int
    source: Literal["measured", "planned"]


def context_to_keep(held_bytes: int | None, planned_bytes: int) -> Context:
    """Return what is to be kept free for the context: the larger of what it takes now and what was planned.

    It is measured before the first convolution and matrix product have loaded their kernels, and grows by these.

    Args:
        held_bytes: what it takes now; None where that is not known.
        planned_bytes: what was planned for it, all kernels loaded.
    """
    if held_bytes is None or held_bytes < planned_bytes:
        return Context(num_bytes=planned_bytes, source="planned")
    return Context(num_bytes=held_bytes, source="measured")


def measured_context(planned_bytes: int) -> Context:
    """Return the CUDA context of this process: what NVML says it uses, less what torch's allocator holds."""
    import torch

    used = used_by_this_process(uuid_of(torch.cuda.current_device()))
    return context_of(used, torch.cuda.memory_reserved(), planned_bytes)


def context_of(used_bytes: int | None, reserved_bytes: int, planned_bytes: int) -> Context:
    """Return the context from what the process uses of the card, or the planned one where that is not known."""
    measured = held_beside(used_bytes, reserved_bytes)
    if measured is None:
        return Context(num_bytes=planned_bytes, source="planned")
    return Context(num_bytes=measured, source="measured")


def held_beside(used_bytes: int | None, reserved_bytes: int) -> int | None:
    """Return what a process uses of the card beside torch's allocator, or None where that is not known."""
    return None if used_bytes is None or used_bytes <= reserved_bytes else used_bytes - reserved_bytes


def used_by_this_process(uuid: str) -> int | None:
    """Return the bytes that this process uses of the card with this UUID, or None where NVML does not say."""
    return ask_nvml(lambda nvml: own_bytes(nvml.nvmlDeviceGetComputeRunningProcesses(handle_of(nvml, uuid))))


def own_bytes(processes: Sequence[Any]) -> int | None:
    """Find this process in NVML's list (`pid`, `usedGpuMemory`), and give its bytes.

    In a container the numbers of processes are those of the host; but since this process has a context, a list of one
    is this one.
    """
    own = [process for process in processes if process.pid == os.getpid()]
    found = own or (processes if len(processes) == 1 else [])
    return found[0].usedGpuMemory if found else None
