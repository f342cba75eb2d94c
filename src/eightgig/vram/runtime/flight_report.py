"""What the flight recorder leaves on disk."""

from eightgig.core.device import DeviceKind
from eightgig.core.records import Record
from eightgig.vram.runtime.card_memory import Context
from eightgig.vram.runtime.diagnosis import OomDiagnosis, Shortage
from eightgig.vram.runtime.measure import CacheClearings
from eightgig.vram.runtime.memory_probe import Peaks


class PhaseMemoryUse(Record):
    """What one phase took at most, over all its spans, in bytes; None on the CPU, which has no allocator to ask.

    Attributes:
        peak_inactive_split_bytes: gaps between tensors that could not be given back to the card.
        num_alloc_retries: times the allocator had to give back its cache before it was given memory.
        num_ooms: times it gave up.
        resident_bytes: the process's share of main memory, at the end of a span.
    """

    phase: str
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None
    peak_inactive_split_bytes: int | None
    num_alloc_retries: int
    num_ooms: int
    resident_bytes: int
    fragmentation: float | None

    @classmethod
    def of_span(cls, phase: str, before: Peaks, after: Peaks) -> "PhaseMemoryUse":
        """Return one span: peaks as at its end, and what was counted since its begin."""
        return cls(
            phase=phase,
            peak_allocated_bytes=after.peak_allocated_bytes,
            peak_reserved_bytes=after.peak_reserved_bytes,
            peak_inactive_split_bytes=after.peak_inactive_split_bytes,
            num_alloc_retries=after.num_alloc_retries - before.num_alloc_retries,
            num_ooms=after.num_ooms - before.num_ooms,
            resident_bytes=after.resident_bytes,
            fragmentation=_fragmentation(after.peak_allocated_bytes, after.peak_reserved_bytes),
        )

    def merged_with(self, later: "PhaseMemoryUse") -> "PhaseMemoryUse":
        """Return both spans as one: the higher peaks, the sums of the counts."""
        allocated = _higher(self.peak_allocated_bytes, later.peak_allocated_bytes)
        reserved = _higher(self.peak_reserved_bytes, later.peak_reserved_bytes)
        return PhaseMemoryUse(
            phase=self.phase,
            peak_allocated_bytes=allocated,
            peak_reserved_bytes=reserved,
            peak_inactive_split_bytes=_higher(self.peak_inactive_split_bytes, later.peak_inactive_split_bytes),
            num_alloc_retries=self.num_alloc_retries + later.num_alloc_retries,
            num_ooms=self.num_ooms + later.num_ooms,
            resident_bytes=max(self.resident_bytes, later.resident_bytes),
            fragmentation=_fragmentation(allocated, reserved),
        )


class Incident(Record):
    """One time memory ran out, and why."""

    shortage: Shortage
    diagnosis: OomDiagnosis


class FlightReport(Record):
    """All that was recorded of one run.

    Attributes:
        outcome: `running` while it does, `finished`, or the error that ended it.
        cap_bytes: what torch's allocator was allowed; None on the CPU.
        context: the CUDA context when the run began; it grows as kernels are loaded.
        step_starts: allocated at the start of optimizer steps, evenly thinned out.
    """

    device: DeviceKind
    device_name: str
    outcome: str
    budget_bytes: int
    cap_bytes: int | None
    context: Context | None
    phases: tuple[PhaseMemoryUse, ...]
    incidents: tuple[Incident, ...]
    step_starts: tuple[int, ...]
    cache_clearings: CacheClearings = CacheClearings()


def _higher(one: int | None, other: int | None) -> int | None:
    return other if one is None else max(one, other or 0)


def _fragmentation(allocated: int | None, reserved: int | None) -> float | None:
    """Return 1 - allocated / reserved, at their peaks."""
    if allocated is None or reserved is None:
        return None
    return 1 - allocated / reserved if reserved else 0.0
