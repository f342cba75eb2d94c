"""A day with rows of no consequence: `python day_driver.py FOLDER MINUTES ROW...`, each `name:seconds`."""

import argparse
import sys
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from day_index import Index
from day_rows import Row
from day_schedule import Day
from gpu_cases import setting_of
from gpu_row import Machine

from eightgig.vram.runtime.card_memory import Context
from eightgig.vram.tracing.workspace import load_calibration

MACHINE = Machine(
    device="cpu",
    card="none",
    compute_capability=(0, 0),
    total_bytes=0,
    context=Context(num_bytes=0, source="planned"),
    driver="none",
    torch="0",
    cuda="none",
    cudnn="none",
    python="3",
)
SETTING = setting_of(MACHINE, 8.0, None, load_calibration(None))
NO_PLANS = SimpleNamespace(setting=SETTING, ask=lambda _: None, ready=lambda _: True, of=lambda _: {})


def row(folder: Path, name: str, seconds: float, **more) -> Row:
    """Return a row that takes so long."""
    arguments = {"name": name, "seconds": seconds, "folder": str(folder), **more.pop("arguments", {})}
    return Row("compile", name, "day_work:work", arguments, **{"least": 0.1, **more})


def day(folder: Path, rows: list[Row], seconds: float, *, missing=None, plans=NO_PLANS, index=None) -> Day:
    """Return a day that has so long."""
    index = index or Index(machine=MACHINE, budget_gib=8.0, date="2026-01-01", missing=missing or {})
    options = argparse.Namespace(budget_gib=8.0, steps=2)
    return Day(index, folder, folder / "work", rows, plans, time.monotonic() + seconds, options)


def main() -> None:
    """Go through the rows, taking up what is there."""
    from day_index import taken_up

    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    fresh = Index(machine=MACHINE, budget_gib=8.0, date="2026-01-01")
    index = taken_up(folder / "gpu_day-rehearsal.json", fresh)
    rows = [row(folder, name, float(takes)) for name, takes in (each.split(":") for each in sys.argv[3:])]
    day(folder, rows, seconds, index=index).run()


if __name__ == "__main__":
    main()
