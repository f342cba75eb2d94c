"""Predicted memory beside measured memory, phase by phase."""

from eightgig.core.records import Record
from eightgig.vram.measure import MeasuredPhase
from eightgig.vram.plan import MemoryPlan


class PhaseComparison(Record):
    """One phase: what the plan said and what was seen. `error_fraction` is (predicted - measured) / measured."""

    phase: str
    predicted_bytes: int
    measured: MeasuredPhase

    @property
    def error_fraction(self) -> float | None:
        """How far the prediction was off, positive when it said too much; None where nothing was measured."""
        seen = self.measured.peak_bytes
        return (self.predicted_bytes - seen) / seen if seen > 0 else None


class VramTrace(Record):
    """All phases of one run."""

    device_name: str
    budget_bytes: int
    phases: tuple[PhaseComparison, ...]

    @classmethod
    def of(cls, plan: MemoryPlan, measured: tuple[MeasuredPhase, ...]) -> "VramTrace":
        """Put what was measured beside what the plan predicted."""
        return cls(
            device_name=plan.device_name,
            budget_bytes=plan.budget_bytes,
            phases=tuple(
                PhaseComparison(phase=seen.phase, predicted_bytes=plan.phase(seen.phase).peak_bytes, measured=seen)
                for seen in measured
            ),
        )
