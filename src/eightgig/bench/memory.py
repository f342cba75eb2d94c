"""What a runner takes of the machine's memory, or of the GPU's, from before it is opened until it has answered."""

import ctypes
import sys
from collections.abc import Callable
from typing import TypeVar

import torch

from eightgig.vram.runtime.budget import release_memory
from eightgig.vram.runtime.measure import MemoryMeter

Result = TypeVar("Result")


def growth_while(action: Callable[[], Result], *, on_gpu: bool) -> tuple[Result, int]:
    """Return what `action` returns, and the bytes by which memory grew while it ran.

    On the CPU the peak of the process's resident memory, less where it began; free memory is given back to the system
    first, so that it is not taken again unseen (glibc alone can do that: elsewhere the figure may be too small). On
    the GPU what the whole card has in use afterwards and had not before, whichever runtime took it.
    """
    release_memory(on_card=torch.cuda.is_initialized())
    if on_gpu:
        before, _ = torch.cuda.mem_get_info()
        result = action()
        return result, max(0, before - torch.cuda.mem_get_info()[0])
    _give_back_free_memory()
    with MemoryMeter("runner", "cpu") as meter:
        result = action()
    return result, meter.result().resident_growth_bytes


def _give_back_free_memory() -> None:
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
