"""Predicted memory beside measured memory, phase by phase."""

from eightgig.core.records import Record
from eightgig.vram.plan import Finding, MemoryPlan
from eightgig.vram.runtime.diagnosis import Recovered
from eightgig.vram.runtime.measure import CacheClearings, MeasuredPhase


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
    """All phases of one run.

    Attributes:
        final_micro_batch, final_accumulation, final_eval_batch: as at the end of the run: other than the plan's, once
            memory ran out.
        recovered: each time memory ran out and the run went on.
        findings: what was found while it ran.
        cache_clearings: what giving back the allocator's cache cost and brought.
    """

    device_name: str
    budget_bytes: int
    phases: tuple[PhaseComparison, ...]
    final_micro_batch: int | None = None
    final_accumulation: int | None = None
    final_eval_batch: int | None = None
    recovered: tuple[Recovered, ...] = ()
    findings: tuple[Finding, ...] = ()
    cache_clearings: CacheClearings = CacheClearings()

    @classmethod
    def of(
        cls,
        plan: MemoryPlan,
        measured: tuple[MeasuredPhase, ...],
        *,
        final_plan: MemoryPlan | None = None,
        recovered: tuple[Recovered, ...] = (),
        findings: tuple[Finding, ...] = (),
        cache_clearings: CacheClearings | None = None,
    ) -> "VramTrace":
        """Put what was measured beside what the plan predicted, and how the plan was carried out in the end."""
        final_plan = final_plan or plan
        return cls(
            device_name=plan.device_name,
            budget_bytes=plan.budget_bytes,
            phases=tuple(
                PhaseComparison(phase=seen.phase, predicted_bytes=plan.phase(seen.phase).peak_bytes, measured=seen)
                for seen in measured
            ),
            final_micro_batch=final_plan.micro_batch,
            final_accumulation=final_plan.gradient_accumulation_steps,
            final_eval_batch=final_plan.eval_batch,
            recovered=recovered,
            findings=findings,
            cache_clearings=cache_clearings or CacheClearings(),
        )
