"""Where a run's memory is read: torch's CUDA allocator and the card, or the process and the machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import psutil
import torch

from eightgig.core.device import DeviceKind
from eightgig.core.files import atomic_write
from eightgig.core.records import Record
from eightgig.vram.runtime.card_memory import measured_context

_HISTORY_ENTRIES = 20_000  # an entry with its Python stack is some KB in a snapshot (torch.cuda.memory._dump_snapshot)


class Reading(Record):
    """Memory now, in bytes; on the CPU allocated and reserved are the resident memory, the rest is the machine's."""

    allocated_bytes: int
    reserved_bytes: int
    free_bytes: int
    others_bytes: int


class Peaks(Record):
    """Peaks since `reset_peaks`, and counts since the process began; None and 0 on the CPU, which has no such thing.

    Attributes:
        peak_inactive_split_bytes: gaps between tensors that could not be given back to the card.
        num_alloc_retries: times the allocator had to give back its cache before it was given memory.
        num_ooms: times it gave up.
    """

    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    peak_inactive_split_bytes: int | None = None
    num_alloc_retries: int = 0
    num_ooms: int = 0
    resident_bytes: int


class MemoryProbe(Protocol):
    """What a flight recorder reads."""

    def now(self) -> Reading:
        """Return memory as it is now."""

    def allocated_bytes(self) -> int:
        """Return what is held now: cheap enough for each step."""

    def peaks(self) -> Peaks:
        """Return the peaks since `reset_peaks`."""

    def reset_peaks(self) -> None:
        """Start a new peak."""

    def empty_cache(self) -> int:
        """Release what the allocator holds and nobody uses; return the bytes."""

    def record_history(self, *, on: bool) -> None:
        """Keep, or stop keeping, where the last allocations were made."""

    def snapshot(self, path: Path) -> bool:
        """Write the allocator's state to `path`; False where there is none to write."""


def memory_probe_for(device: DeviceKind, planned_context_bytes: int) -> MemoryProbe:
    """Return the memory probe of a device."""
    return CudaMemoryProbe(planned_context_bytes) if device == "cuda" else ResidentMemoryProbe()


class CudaMemoryProbe:
    """Reads torch's allocator and the current card.

    Source of the names: the documentation of torch.cuda.memory_stats.
    """

    def __init__(self, planned_context_bytes: int) -> None:
        self._planned_context_bytes = planned_context_bytes

    def now(self) -> Reading:
        """Return memory as it is now; what is neither free nor this process's is taken by others."""
        free_bytes, total_bytes = torch.cuda.mem_get_info()
        reserved_bytes = torch.cuda.memory_reserved()
        own_bytes = reserved_bytes + measured_context(self._planned_context_bytes).num_bytes
        return Reading(
            allocated_bytes=torch.cuda.memory_allocated(),
            reserved_bytes=reserved_bytes,
            free_bytes=free_bytes,
            others_bytes=max(0, total_bytes - free_bytes - own_bytes),
        )

    def allocated_bytes(self) -> int:
        """Return what is held in tensors."""
        return torch.cuda.memory_allocated()

    def peaks(self) -> Peaks:
        """Return the allocator's peaks and counts."""
        return peaks_of(torch.cuda.memory_stats(), psutil.Process().memory_info().rss)

    def reset_peaks(self) -> None:
        """Start a new peak."""
        torch.cuda.reset_peak_memory_stats()

    def empty_cache(self) -> int:
        """Release all segments that nothing lies in; this waits for the card."""
        before = torch.cuda.memory_reserved()
        torch.cuda.empty_cache()
        return before - torch.cuda.memory_reserved()

    def record_history(self, *, on: bool) -> None:
        """Keep, or stop keeping, the last allocations with their Python stacks."""
        if on:
            torch.cuda.memory._record_memory_history(max_entries=_HISTORY_ENTRIES, stacks="python")
        else:
            torch.cuda.memory._record_memory_history(enabled=None)

    def snapshot(self, path: Path) -> bool:
        """Write a snapshot for pytorch.org/memory_viz."""
        with atomic_write(path) as temporary:
            torch.cuda.memory._dump_snapshot(str(temporary))
        return True


class ResidentMemoryProbe:
    """Reads the process's resident memory; there is no allocator to look into."""

    def __init__(self) -> None:
        self._process = psutil.Process()

    def now(self) -> Reading:
        """Return resident memory, and what the machine has available."""
        resident, machine = self.allocated_bytes(), psutil.virtual_memory()
        return Reading(
            allocated_bytes=resident,
            reserved_bytes=resident,
            free_bytes=machine.available,
            others_bytes=max(0, machine.total - machine.available - resident),
        )

    def allocated_bytes(self) -> int:
        """Return resident memory."""
        return int(self._process.memory_info().rss)

    def peaks(self) -> Peaks:
        """Return resident memory as it is now: it has no peak that can be reset."""
        return Peaks(resident_bytes=self.allocated_bytes())

    def reset_peaks(self) -> None:
        """Do nothing."""

    def empty_cache(self) -> int:
        """Do nothing: there is no cache."""
        return 0

    def record_history(self, *, on: bool) -> None:
        """Do nothing."""

    def snapshot(self, path: Path) -> bool:  # noqa: ARG002
        """Write nothing."""
        return False


def peaks_of(stats: Mapping[str, Any], resident_bytes: int) -> Peaks:
    """Pick from torch.cuda.memory_stats what a report shows."""
    return Peaks(
        peak_allocated_bytes=stats.get("allocated_bytes.all.peak", 0),
        peak_reserved_bytes=stats.get("reserved_bytes.all.peak", 0),
        peak_inactive_split_bytes=stats.get("inactive_split_bytes.all.peak", 0),
        num_alloc_retries=stats.get("num_alloc_retries", 0),
        num_ooms=stats.get("num_ooms", 0),
        resident_bytes=resident_bytes,
    )
