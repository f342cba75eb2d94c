"""Rows of `memory` and `expandable`: a step of the guide under the cap, and the results that they are kept in."""

import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from day_child import Keep, Measure
from gpu_allocator import finish_snapshot
from gpu_cases import VARIANTS, Case, Planned, Setting
from gpu_results import Outcome, Results, judged, summary_of
from gpu_row import Measured, Order, carry_out

from eightgig.core.files import write_text

_XZ = ".xz"


def work(order: dict[str, Any]) -> Measure:
    """Build the network on the CPU; then take its steps on the card."""
    made = Order.model_validate(order)
    ready = made.workload.build()

    def measure(_: Keep) -> dict[str, Any]:
        return carry_out(made, ready).model_dump(mode="json")

    return measure


class Table:
    """The results of one allocator's segments, in their file."""

    def __init__(self, results: Results, path: Path, snapshots: Path) -> None:
        self.results, self.path, self._snapshots = results, path, snapshots

    def order(self, case: Case, planned: Planned, setting: Setting) -> Order:
        """Return what the row's process shall do."""
        slug = case.key.replace(", ", "-").replace(" ", "_").lower()
        return Order(
            workload=case.workload,
            options=planned.options,
            gradient_accumulation_steps=planned.gradient_accumulation_steps,
            device=self.results.machine.device,
            budget_gib=self.results.budget_gib,
            context=setting.context,
            fits=planned.fits,
            num_steps=self.results.num_steps,
            cudnn_attention=VARIANTS[case.variant].cudnn_attention,
            snapshot=self._snapshots / f"{self.path.stem}-{slug}.pickle",
        )

    def same_step(self, case: Case, planned: Planned) -> str | None:
        """Return the row that ran the very same step already."""
        return self.results.same_step(case, planned)

    def keep(
        self,
        case: Case,
        planned: Planned | None,
        value: dict[str, Any] | None,
        problem: str | None,
        seconds: float,
        same_as: str | None = None,
    ) -> Outcome:
        """Write the row among the others; give it with its errors."""
        outcome = Outcome(
            workload=case.name,
            variant=case.variant,
            kind=case.kind,
            planned=planned,
            measured=None if value is None else Measured.model_validate(value),
            problem=problem,
            same_as=same_as,
            seconds=round(seconds, 1),
        )
        made = judged(outcome)
        self._put({made.key: made})
        return made

    def finish_snapshots(self, pool: ProcessPoolExecutor, kept: Path, deadline: float) -> str:
        """Compress and compare what was put aside, as long as there is time; say how far it came."""
        raw = {path.name: path for path in self._snapshots.glob(f"{self.path.stem}-*.pickle")}
        due = {row.key: row.measured.snapshot for row in self.results.rows.values() if row.measured}
        tasks = {
            pool.submit(_finish, raw[name], kept / f"{name}{_XZ}"): key for key, name in due.items() if name in raw
        }
        done = 0
        try:
            for task in as_completed(tasks, timeout=max(0.0, deadline - time.monotonic())):
                done += self._finished(tasks[task], task.result())
        except TimeoutError:
            for task in tasks:
                task.cancel()
        return f"{done} of {len(tasks)} snapshots compressed"

    def _finished(self, key: str, made: tuple[str, Any]) -> bool:
        row = self.results.rows[key]
        assert row.measured is not None  # noqa: S101  it has a snapshot
        measured = row.measured.model_copy(update={"snapshot": made[0], "comparison": made[1]})
        self._put({key: row.model_copy(update={"measured": measured})})
        return True

    def _put(self, changed: dict[str, Outcome]) -> None:
        rows = {**self.results.rows, **changed}
        made = {"rows": rows, "summary": summary_of(rows, self.results.budget_gib)}
        self.results = self.results.model_copy(update=made)
        write_text(self.path, self.results.model_dump_json(indent=1) + "\n")


def _finish(raw: Path, target: Path) -> tuple[str, Any]:
    made = finish_snapshot(raw.read_bytes(), target)
    raw.unlink()
    return made


def brief(row: Outcome) -> dict[str, Any]:
    """Return a row's figures for the index; the whole of it is in the table's own file."""
    said: dict[str, Any] = {"said": row.sentence()}
    if row.measured is not None and row.planned is not None:
        seen = row.measured.undisturbed
        said |= {
            "predicted_bytes": row.planned.predicted.peak_allocated,
            "measured_bytes": seen.peak_allocated,
            "error": None if row.errors is None else row.errors.allocated,
            "step_seconds": seen.step_seconds,
            "ran_out_under_the_cap": row.measured.capped.ran_out is not None,
        }
    return said
