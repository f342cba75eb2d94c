"""The results of vram_gpu.py: a row with its errors, and what all rows say together."""

import statistics
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from gpu_cases import MARGIN_FRACTION, VARIANTS, Case, Kind, Planned
from gpu_row import Machine, Measured

from eightgig.core.records import Record
from eightgig.core.units import GIB, bytes_from_gib
from eightgig.vram.allocator.caching import Segments
from eightgig.vram.cards.catalog import Card

BARS: dict[Kind, float] = {"transformer": 0.01, "convolutional": 0.03}


class Errors(Record):
    """Predicted over measured, less one: positive where the prediction says too much. Segments: the difference."""

    allocated: float
    reserved: float
    segments: int
    step_seconds: float | None = None


class Outcome(Record):
    """One row.

    Attributes:
        problem: why it was not measured.
        same_as: the row that ran the very same step.
        seconds: it took to measure.
    """

    workload: str
    variant: str
    kind: Kind
    planned: Planned | None = None
    measured: Measured | None = None
    problem: str | None = None
    same_as: str | None = None
    errors: Errors | None = None
    seconds: float

    @property
    def key(self) -> str:
        """Its name among the results."""
        return f"{self.workload}, {self.variant}"

    @property
    def counts(self) -> bool:
        """Whether it was measured with the kernels that the prediction is made for."""
        return self.measured is not None and not VARIANTS[self.variant].cudnn_attention

    def sentence(self) -> str:
        """Say the row in one line."""
        if self.problem is not None or self.measured is None or self.planned is None:
            return f"{self.key}: {self.problem or 'the same step as ' + str(self.same_as)}"
        run, capped, predicted = self.measured.undisturbed, self.measured.capped, self.planned.predicted
        shown = "nothing measured" if run.peak_allocated is None else f"measured {run.peak_allocated / GIB:.3f} GiB"
        error = "" if self.errors is None else f" ({self.errors.allocated:+.2%})"
        planned = "planned to fit" if self.planned.fits else "refused"
        under_cap = "ran out" if capped.ran_out else f"{capped.num_steps} steps under the cap"
        return (
            f"{self.key}: predicted {predicted.peak_allocated / GIB:.3f} GiB, {shown}{error}; {planned}, {under_cap}; "
            f"{self.seconds:.0f} s"
        )


class Summary(Record):
    """What all rows say together; errors are of the peak allocated unless a name says otherwise, and absolute.

    Attributes:
        bars_met: by kind of network, whether the median error is within its bar; kinds without a row are absent.
        under_predicted: rows that took more than predicted with the stated margin.
        ran_out_though_planned: rows that ran out of memory under the cap though the plan said that they fit.
        ran_though_refused: rows that ran under the cap though no plan was found; the margin makes some of these.
        over_budget: rows planned to fit whose reserved memory and context, at the end, are more than the budget.
        snapshots_exact, snapshots_compared: how many snapshots the allocator's simulator followed without a difference.
    """

    rows_measured: int
    rows_failed: tuple[str, ...]
    median_error: dict[str, float]
    worst_error: dict[str, float]
    bars_met: dict[str, bool]
    median_error_reserved: float | None
    reserved_exact: int
    segments_exact: int
    median_error_step_seconds: float | None
    under_predicted: tuple[str, ...]
    ran_out_though_planned: tuple[str, ...]
    refused: int
    ran_though_refused: tuple[str, ...]
    over_budget: tuple[str, ...]
    snapshots_exact: int
    snapshots_compared: int
    snapshots_differ: tuple[str, ...]


class Results(Record):
    """All that was measured on one card.

    Attributes:
        catalog_card: the card's figures, for times and its generation.
        segments: of torch's allocator; predictions of reserved memory are for native ones.
    """

    machine: Machine
    catalog_card: Card | None
    date: str
    budget_gib: float
    margin_fraction: float
    num_steps: int
    segments: Segments = "native"
    rows: dict[str, Outcome]
    summary: Summary | None = None

    @classmethod
    def begun(
        cls, machine: Machine, card: Card | None, budget_gib: float, num_steps: int, segments: Segments
    ) -> "Results":
        """Return results without rows."""
        return cls(
            machine=machine,
            catalog_card=card,
            date=datetime.now(UTC).date().isoformat(),
            budget_gib=budget_gib,
            margin_fraction=MARGIN_FRACTION,
            num_steps=num_steps,
            segments=segments,
            rows={},
        )

    def same_setting(self, other: "Results") -> bool:
        """Tell whether rows of both belong into one table."""
        mine, others = self.machine, other.machine
        same_machine = (mine.card, mine.torch) == (others.card, others.torch)
        return same_machine and (self.budget_gib, self.segments) == (other.budget_gib, other.segments)

    def failed(self, key: str) -> bool:
        """Tell whether a row is there and was not measured."""
        return key in self.rows and self.rows[key].problem is not None

    def same_step(self, case: Case, planned: Planned) -> str | None:
        """Return the row that ran the very same step of the same workload, if there is one."""
        if VARIANTS[case.variant].cudnn_attention:
            return None
        alike = (
            row.key
            for row in self.rows.values()
            if row.workload == case.name and row.key != case.key and row.counts and row.planned is not None
            if (row.planned.options, row.planned.gradient_accumulation_steps)
            == (planned.options, planned.gradient_accumulation_steps)
        )
        return next(alike, None)


def judged(row: Outcome) -> Outcome:
    """Return the row with its errors; without them where nothing was measured or memory ran out without a cap."""
    if row.planned is None or row.measured is None:
        return row
    seen, predicted = row.measured.undisturbed, row.planned.predicted
    if seen.ran_out is not None or not seen.peak_allocated or not seen.peak_reserved:
        return row.model_copy(update={"errors": None})
    step_seconds = None
    if seen.step_seconds and predicted.step_seconds:
        step_seconds = round(predicted.step_seconds / seen.step_seconds - 1, 3)
    errors = Errors(
        allocated=round(predicted.peak_allocated / seen.peak_allocated - 1, 5),
        reserved=round(predicted.peak_reserved / seen.peak_reserved - 1, 5),
        segments=predicted.num_segments - (seen.num_segments or 0),
        step_seconds=step_seconds,
    )
    return row.model_copy(update={"errors": errors})


def summary_of(rows: Mapping[str, Outcome], budget_gib: float) -> Summary:
    """Return what all rows say together."""
    counted = [row for row in rows.values() if row.counts]
    by_kind = {kind: [abs(row.errors.allocated) for row in counted if row.errors and row.kind == kind] for kind in BARS}
    medians = {kind: statistics.median(sizes) for kind, sizes in by_kind.items() if sizes}
    errors = [row.errors for row in counted if row.errors is not None]
    compared = [(row.key, row.measured.comparison) for row in counted if row.measured and row.measured.comparison]
    times = [abs(error.step_seconds) for error in errors if error.step_seconds is not None]
    refused = [row for row in counted if row.planned is not None and not row.planned.fits]
    planned = [row for row in counted if row.planned is not None and row.planned.fits]
    return Summary(
        rows_measured=len(counted),
        rows_failed=tuple(row.key for row in rows.values() if row.problem is not None),
        median_error=medians,
        worst_error={kind: max(sizes) for kind, sizes in by_kind.items() if sizes},
        bars_met={kind: median <= BARS[kind] for kind, median in medians.items()},
        median_error_reserved=_median(abs(error.reserved) for error in errors),
        reserved_exact=sum(error.reserved == 0 for error in errors),
        segments_exact=sum(error.segments == 0 for error in errors),
        median_error_step_seconds=_median(times),
        under_predicted=tuple(row.key for row in counted if _is_under_predicted(row)),
        ran_out_though_planned=tuple(row.key for row in planned if row.measured and row.measured.capped.ran_out),
        refused=len(refused),
        ran_though_refused=tuple(row.key for row in refused if row.measured and not row.measured.capped.ran_out),
        over_budget=tuple(row.key for row in planned if _is_over(row, budget_gib)),
        snapshots_exact=sum(comparison.exact for _, comparison in compared),
        snapshots_compared=len(compared),
        snapshots_differ=tuple(key for key, comparison in compared if not comparison.exact),
    )


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.median(known) if known else None


def _is_under_predicted(row: Outcome) -> bool:
    return row.errors is not None and (1 + row.errors.allocated) * (1 + MARGIN_FRACTION) < 1


def _is_over(row: Outcome, budget_gib: float) -> bool:
    measured = row.measured
    if measured is None or measured.context_after is None or measured.capped.peak_reserved is None:
        return False
    return measured.capped.peak_reserved + measured.context_after.num_bytes > bytes_from_gib(budget_gib)
