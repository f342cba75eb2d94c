"""A plan's and a trace's figures for tracking: few, by names that sort the measured beside the predicted."""

from eightgig.core.units import gib
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.measure import MeasuredPhase
from eightgig.vram.trace import PhaseComparison, VramTrace


def plan_metrics(plan: MemoryPlan) -> dict[str, float]:
    """Return the promise: what each phase holds at its peak, what the card must have, what is left, and the time."""
    peaks = {f"{phase.phase}.predicted_peak_gib": gib(phase.peak_bytes) for phase in plan.predicted}
    time = {} if plan.seconds_per_step is None else {"predicted_seconds_per_step": plan.seconds_per_step}
    return (
        peaks
        | time
        | {
            "expected_gib": gib(plan.expected_bytes),
            "needed_gib": gib(plan.needed_bytes),
            "margin_gib": gib(plan.margin_bytes),
            "usable_gib": gib(plan.budget_bytes),
            "predicted_reserved_gib": gib(plan.predicted_reserved_bytes),
            "micro_batch": plan.micro_batch,
            "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        }
    )


def trace_metrics(trace: VramTrace) -> dict[str, float]:
    """Return, by phase, the prediction, what was measured and the error, and how often memory ran out."""
    final = {"final_micro_batch": trace.final_micro_batch, "final_accumulation": trace.final_accumulation}
    figures = {name: float(value) for name, value in final.items() if value is not None}
    for compared in trace.phases:
        figures |= {f"{compared.phase}.{name}": value for name, value in _phase_metrics(compared).items()}
    return figures | {"recoveries": float(len(trace.recovered))}


def comparable_error(compared: PhaseComparison) -> float | None:
    """Return the prediction's error, or None where nothing was measured that tests it: on the CPU, or not at all."""
    return compared.error_fraction if is_comparable(compared.measured) else None


def is_comparable(measured: MeasuredPhase) -> bool:
    """Tell whether tensors were measured; on the CPU only the whole process can be, libraries and caches included."""
    return measured.peak_allocated_bytes is not None


def _phase_metrics(compared: PhaseComparison) -> dict[str, float]:
    measured, error = compared.measured, comparable_error(compared)
    name = "measured_peak_gib" if is_comparable(measured) else "measured_growth_of_process_gib"
    figures = {"predicted_peak_gib": gib(compared.predicted_bytes), name: gib(measured.peak_bytes)}
    if measured.peak_reserved_bytes is not None:
        figures["measured_reserved_gib"] = gib(measured.peak_reserved_bytes)
    return figures | ({} if error is None else {"error_fraction": error}) | {"seconds": measured.seconds}
