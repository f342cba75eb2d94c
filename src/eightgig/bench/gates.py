"""Which variant may be used at all, and which one should be: by measurement, never by its name."""

from collections.abc import Sequence

from eightgig.bench.parameters import GateParameters
from eightgig.bench.records import VariantRow

# Slack for sums of floats: a drop of exactly the allowed one passes.
_EPSILON = 1e-9


def judge(rows: Sequence[VariantRow], parameters: GateParameters) -> list[VariantRow]:
    """Return the rows with `passed`, `gate` and, for one row of each device, `recommended`.

    A variant passes when its probabilities stay within the tolerance of its precision (parity), or else when its
    score falls by no more than is allowed. From the simplest on, one variant of each device is recommended: a more
    complex one takes its place only where it passes and is faster.

    Args:
        rows: the reference first, then from simple to complex.
        parameters: what is allowed.
    """
    judged = [_judge_one(row, rows[0], parameters) for row in rows]
    best = {
        _kind(row): _recommend([other for other in judged if _kind(other) == _kind(row)], parameters) for row in judged
    }
    return [row.model_copy(update={"recommended": row is best[_kind(row)]}) for row in judged]


def _judge_one(row: VariantRow, reference: VariantRow, parameters: GateParameters) -> VariantRow:
    if row.status != "ok" or row.score is None or reference.score is None:
        return row
    difference, drop = row.parity_max_abs_diff or 0.0, reference.score - row.score
    tolerance = parameters.parity_fp32 if row.computes_in == row.precision == "fp32" else parameters.parity_reduced
    if difference <= tolerance:
        return row.model_copy(update={"passed": True, "gate": f"parity: {difference:.1e} of {tolerance:.0e}"})
    passed = drop <= parameters.max_drop + _EPSILON
    gate = f"{row.score_name}: {_points(-drop)}, allowed {_points(-parameters.max_drop)}"
    return row.model_copy(update={"passed": passed, "gate": gate})


def _recommend(rows: Sequence[VariantRow], parameters: GateParameters) -> VariantRow | None:
    best: VariantRow | None = None
    for row in rows:
        if not row.passed or row.latency_p50_ms is None:
            continue
        if (
            best is None
            or best.latency_p50_ms is None
            or best.latency_p50_ms >= parameters.min_speedup * row.latency_p50_ms
        ):
            best = row
    return best


def _kind(row: VariantRow) -> str:
    return row.device.partition(":")[0]


def _points(share: float) -> str:
    return f"{100 * share:+z.1f} points"
