"""The course of a day with a card: which row is next, when it is begun, and what is kept of it."""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from day_children import Answer, Child
from day_index import README, Index, RowState, owed_table
from day_memory import Table, brief
from day_planning import Plans
from day_rows import Row, refusal
from gpu_cases import Planned
from gpu_results import Results
from gpu_row import Machine
from vram_gpu import resumed

from eightgig.core.device import usable_cores

_POLL_SECONDS = 0.05
# Rows that make ready at a time: imports and a network take longer than a row is on a fast card.
_MOST_AHEAD = max(1, min(4, usable_cores() // 4))
_PATIENCE_OF_A_REHEARSAL = 5
_SEGMENTS = {"memory": "native", "expandable": "expandable"}


class Waiting(NamedTuple):
    """A row whose process makes ready, or is ready."""

    row: Row
    child: Child


class Day:
    """Measures rows one after the other, the next one started before the last has ended.

    Args:
        index: what there is already.
        folder: where the index and the detailed files lie.
        work: folder for what need not stay.
        rows: all, the most important first.
        plans: make ahead what rows need.
        deadline: of `time.monotonic`, for the last row to have ended.
        options: of the command.
    """

    def __init__(
        self,
        index: Index,
        folder: Path,
        work: Path,
        rows: list[Row],
        plans: Plans,
        deadline: float,
        options: argparse.Namespace,
    ) -> None:
        self.index, self.folder, self.work, self.deadline = index, folder, work, deadline
        self._rows, self._plans, self._setting = rows, plans, plans.setting
        self._path = folder / f"gpu_day-{slug(index.machine)}.json"
        self._table = owed_table(README.read_text(encoding="utf-8"))
        self.tables = {section: self._opened(kind, options) for section, kind in _SEGMENTS.items()}
        self._card_free_at = time.time()

    def run(self) -> None:
        """Go through all rows, as far as the time goes."""
        todo = self._todo()
        self._plans.ask(todo)
        ahead: list[Waiting] = []
        while (current := self._next(ahead, todo)) is not None:
            current.child.go(self._left())
            while not current.child.ended():
                self._start_ahead(ahead, todo)
                time.sleep(_POLL_SECONDS)
            self._keep(current.row, current.child.answer())
        for row in todo:
            self._note(row, "not run", self._no_time(row))

    def write(self) -> None:
        """Write the index with the state of all that is owed."""
        self.index = self.index.with_owed(self._table)
        self.index.write(self._path)

    def _todo(self) -> list[Row]:
        """Return what is to be measured: what never was first, what failed last; note what cannot be."""
        fresh, again = [], []
        for row in self._rows:
            state = self.index.rows.get(row.key)
            why = refusal(row, self.index.missing)
            if why is not None:
                self._note(row, "not run", why, say=state is None)
            elif state is None or state.state == "not run":
                fresh.append(row)
            elif state.state == "failed":
                again.append(row)
        self.write()
        return [*fresh, *again]

    def _next(self, ahead: list[Waiting], todo: list[Row]) -> Waiting | None:
        """Return the row that stood ready longest, or start one where none does."""
        while ahead:
            waiting = ahead.pop(0)
            if waiting.row.least <= self._left():
                return waiting
            waiting.child.end()
            self._note(waiting.row, "not run", self._no_time(waiting.row))
        return self._start_next(todo, wait=True)

    def _start_ahead(self, ahead: list[Waiting], todo: list[Row]) -> None:
        if len(ahead) < _MOST_AHEAD:
            started = self._start_next(todo, wait=False)
            ahead.extend([started] if started else [])

    def _no_time(self, row: Row) -> str:
        return f"time: {max(0.0, self._left()):.0f} s were left, it wants {row.least:.0f}"

    def _start_next(self, todo: list[Row], *, wait: bool) -> Waiting | None:
        """Start the first row whose plan is ready and that may still end in time."""
        while True:
            for row in self._worth_it(todo, alone=wait):
                if self._plans.ready(row):
                    todo.remove(row)
                    made = self._started(row)
                    if made is not None:
                        return made
                    break  # it was settled without a process
            else:
                if not wait or not self._worth_it(todo, alone=True):
                    return None
                time.sleep(_POLL_SECONDS)

    def _worth_it(self, todo: list[Row], *, alone: bool) -> list[Row]:
        """Return the rows that may still end in time; one that reads what others brought waits until it is alone."""
        fitting = [row for row in todo if row.least <= self._left()]
        others = [row for row in fitting if row.section != "repredict"]
        return others or (fitting if alone else [])

    def _started(self, row: Row) -> Waiting | None:
        try:
            arguments = self._arguments(row)
        except Exception as error:  # noqa: BLE001  one row must not end the others, whatever it is
            self._settle(row, None, f"{type(error).__name__}: {error}")
            return None
        if arguments is None:
            return None
        name = "".join(letter if letter.isalnum() else "_" for letter in row.key)
        folder = self.work / "rows"
        # A rehearsal shall see each row come to its end, on however slow a machine.
        most = row.most * (_PATIENCE_OF_A_REHEARSAL if row.arguments.get("tiny") else 1)
        child = Child(name, row.work, arguments, folder=folder, most=most, environment=row.environment)
        return Waiting(row, child)

    def _arguments(self, row: Row) -> dict[str, Any] | None:
        """Return the arguments of a row's work; None where another row ran the very same step."""
        card = slug(self.index.machine)
        here = {
            "tests": {"out": str(self.folder / f"gpu_tests-{card}.jsonl")},
            "calibration": {"out": str(self.folder / f"calibration-{card}.json")},
            "repredict": {
                "results": str(self.tables["memory"].path),
                "constants": str(self.folder / f"calibration-{card}.json"),
                "out": str(self.folder / f"vram_gpu-{card}-calibrated.json"),
            },
        }
        arguments = {**row.arguments, **here.get(row.section, {}), **self._plans.of(row)}
        if row.case is None:
            return arguments
        table, planned = self.tables[row.section], Planned.model_validate(arguments["planned"])
        same_as = table.same_step(row.case, planned)
        if same_as is None:
            return {"order": table.order(row.case, planned, self._setting).model_dump(mode="json")}
        made = table.keep(row.case, planned, None, None, 0.0, same_as)
        self._note(row, "measured", None, value={"said": made.sentence(), "same_as": same_as})
        return None

    def _keep(self, row: Row, answer: Answer) -> None:
        waited = early = seconds = None
        if answer.began_at is not None and answer.ended_at is not None and answer.ready_at is not None:
            seconds = round(answer.ended_at - answer.began_at, 2)
            waited, early = round(answer.began_at - self._card_free_at, 2), round(answer.began_at - answer.ready_at, 2)
        self._card_free_at = time.time()
        why = answer.why or answer.value.get("failed")
        times: dict[str, Any] = {"seconds": seconds, "waited": waited, "ready_early": early}
        if row.case is not None:
            self._settle(row, answer.value if answer.whole else None, why, times)
            return
        files = tuple(answer.value.pop("files", ()))
        self._note(row, "failed" if why else "measured", why, value=answer.value, files=files, **times)

    def _settle(self, row: Row, value: dict[str, Any] | None, why: str | None, times: Any = None) -> None:
        """Keep a row, and of one with a table its line there."""
        times = times or {}
        if row.case is None:
            self._note(row, "failed", why, **times)
            return
        try:
            planned = Planned.model_validate(self._plans.of(row)["planned"])
        except Exception:  # noqa: BLE001  it could not be planned, which is what `why` says
            planned = None
        made = self.tables[row.section].keep(row.case, planned, value, why, times.get("seconds") or 0.0)
        files = (self.tables[row.section].path.name,)
        self._note(row, "failed" if why else "measured", why, value=brief(made), files=files, **times)

    def _note(self, row: Row, state: Any, why: str | None, *, say: bool = True, **found: Any) -> None:
        made = RowState(section=row.section, state=state, why=why, **found)
        self.index = self.index.with_row(row.key, made)
        self.write()
        if say:
            print(f"{datetime.now(UTC):%H:%M:%S} {row.key}: {state}{f', {why}' if why else ''}", flush=True)

    def _left(self) -> float:
        return self.deadline - time.monotonic()

    def _opened(self, segments: Any, options: argparse.Namespace) -> Table:
        machine, name = self.index.machine, slug(self.index.machine)
        fresh = Results.begun(machine, self._setting.card, options.budget_gib, options.steps, segments)
        path = self.folder / f"vram_gpu-{name}{'' if segments == 'native' else f'-{segments}'}.json"
        return Table(resumed(path, fresh), path, self.work / "snapshots")


def slug(machine: Machine) -> str:
    """Return a machine's name in the names of files."""
    return "rehearsal" if machine.device == "cpu" else "-".join(machine.card.lower().split())
