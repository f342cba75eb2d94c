"""Plans and predictions ahead of their rows, on the cores that the card leaves idle."""

import multiprocessing
import os
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from day_rows import Row
from gpu_cases import Case, Setting, plan_case

from eightgig.core.device import usable_cores
from eightgig.vram.tracing.predictor import Predictor

# Two for the row that is on the card and the one that makes ready; a plan takes about 1 GB of the machine's memory.
_CORES_OF_ROWS, _MOST_PROCESSES = 2, 8
_predictor: Predictor | None = None


class Plans:
    """Makes plans in processes, in the order in which they will be wanted."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        count = max(1, min(_MOST_PROCESSES, usable_cores() - _CORES_OF_ROWS))
        # Spawned: the parent has threads. They end with it, whatever ends it.
        self._pool = ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
        )
        self._plans: dict[str, Future[dict[str, Any]]] = {}

    def ask(self, rows: list[Row]) -> None:
        """Begin to plan what has to be planned."""
        for row in rows:
            if row.planning != "none" and self._key(row) not in self._plans:
                self._plans[self._key(row)] = self._submit(row)

    def ready(self, row: Row) -> bool:
        """Tell whether a row's plan is there, if it needs one."""
        return row.planning == "none" or self._plans[self._key(row)].done()

    def of(self, row: Row) -> dict[str, Any]:
        """Return a row's plan as its work takes it; whatever kept it from being made is raised."""
        return {} if row.planning == "none" else self._plans[self._key(row)].result()

    def close(self) -> None:
        """End all that still plans."""
        end(self._pool)

    def _submit(self, row: Row) -> Future[dict[str, Any]]:
        if row.case is not None:
            return self._pool.submit(_plan_case, row.case, self.setting)
        return self._pool.submit(_plan_recipe, row.arguments, self.setting)

    def _key(self, row: Row) -> str:
        return row.case.key if row.case is not None else row.key


def end(pool: ProcessPoolExecutor) -> None:
    """End a pool at once, whatever its processes are at."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()


def _begin(parent: int) -> None:
    from eightgig.vram.tracing.child import end_with

    end_with(parent)
    os.nice(5)  # a row on the card has the first call on the cores


def _plan_case(case: Case, setting: Setting) -> dict[str, Any]:
    global _predictor  # noqa: PLW0603  one for all plans of this process, so that no step is traced twice
    _predictor = _predictor or Predictor(setting.calibration)
    return {"planned": plan_case(case, setting, _predictor).model_dump(mode="json")}


def _plan_recipe(arguments: dict[str, Any], setting: Setting) -> dict[str, Any]:
    from day_jobs import plan_recipe

    return {"plan": plan_recipe(arguments, card=setting.device_name, budget_gib=setting.budget_gib)}
