"""A day with a card from beginning to end: what machine it is, the rows, the packing, and what is said of it."""

import argparse
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from day_index import README, Index, RowState, summary, taken_up
from day_planning import Plans, end
from day_rows import Row, all_rows, missing_packages, refusal
from day_schedule import Day, slug
from gpu_cases import setting_of
from vram_gpu import has_gpu, probed

from eightgig.core.device import DeviceKind, usable_cores
from eightgig.core.files import write_text
from eightgig.core.units import MIB
from eightgig.vram.cards.found import card_found
from eightgig.vram.tracing.workspace import load_calibration

RESULTS = README.parent
# Kept at the end for packing snapshots: a few seconds each, as many at a time as there are cores.
_PACKING_SHARE, _MOST_PACKING_SECONDS = 0.06, 40.0
_LARGEST_BUNDLE_BYTES = 15 * MIB  # a lent machine gives back files of 16


def begin(options: argparse.Namespace, work: Path, deadline: float) -> int:
    """Look at the machine, measure, pack; give the command's exit code."""
    device: DeviceKind = "cpu" if options.rehearse else "cuda"
    if device == "cuda" and not has_gpu():
        print("torch finds no usable GPU: nothing was measured. `--rehearse` shows that all is in place.")
        return 2
    machine, missing = probed(device), missing_packages()
    rows = [row for row in all_rows(machine, tiny=options.rehearse, stores=work / "stores") if options.only in row.key]
    for name, cost in missing.items():
        print(f"not here: {name}. It costs {cost}")
    if options.list:
        print("\n".join(f"{row.key}: {refusal(row, missing) or 'can be run'}" for row in rows))
        return 0
    folder = options.out or (work / "results" if options.rehearse else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    fresh = Index(machine=machine, budget_gib=options.budget_gib, date=f"{datetime.now(UTC):%Y-%m-%d}", missing=missing)
    index = taken_up(folder / f"gpu_day-{slug(machine)}.json", fresh)
    packing = min(_MOST_PACKING_SECONDS, _PACKING_SHARE * 60 * options.minutes)
    return measured(index, rows, folder, work, deadline, packing, options)


def measured(
    index: Index,
    rows: list[Row],
    folder: Path,
    work: Path,
    deadline: float,
    packing: float,
    options: argparse.Namespace,
) -> int:
    """Measure and pack, and say what came of it."""
    card = card_found() if index.machine.device == "cuda" else None
    setting = setting_of(index.machine, options.budget_gib, card, load_calibration(None))
    plans = Plans(setting)
    day = Day(index, folder, work, rows, plans, deadline - packing, options)
    try:
        day.run()
    finally:
        plans.close()
        day.write()
    pack(day, options.out, deadline)
    # Few files are brought home from a lent machine, and the index has all of this.
    write_text((work if options.out else folder) / f"gpu_day-{slug(index.machine)}.txt", overview(day.index))
    print(f"{summary(day.index.rows)}: {folder}")
    states = {row.state for row in day.index.rows.values() if not _beyond(row)}
    return 0 if states <= {"measured"} else 1


def pack(day: Day, packs: Path | None, deadline: float) -> None:
    """Compress what was put aside, at the end; into one file where few may be brought home."""
    kept = day.work / "snapshots-packed" if packs else day.folder / "snapshots"
    pool = ProcessPoolExecutor(usable_cores())
    try:
        said = [table.finish_snapshots(pool, kept, deadline) for table in day.tables.values()]
    finally:
        end(pool)
    if packs and kept.is_dir():
        said.append(bundle(kept, packs / f"snapshots-{slug(day.index.machine)}.tar"))
    print("; ".join(said))


def bundle(folder: Path, target: Path) -> str:
    """Put a folder's files, which are compressed already, into one, as far as it may be large; say what is in it."""
    import tarfile

    left_out, size = [], 0
    with tarfile.open(target, "w") as tar:
        for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_size):
            size += path.stat().st_size + 2 * tarfile.BLOCKSIZE
            if size > _LARGEST_BUNDLE_BYTES:
                left_out.append(path.name)
            else:
                tar.add(path, arcname=path.name)
    return f"{target.name} is there{f', without {left_out}, for which it has no room' if left_out else ''}"


def _beyond(row: RowState) -> bool:
    """Tell whether a row cannot be run on this machine, however long it has."""
    return row.state == "not run" and not (row.why or "").startswith("time")


def overview(index: Index) -> str:
    """Return all rows as lines for a person."""
    head = [f"{index.machine.card}, torch {index.machine.torch}, {index.date}: {summary(index.rows)}", ""]
    rows = [f"{key}: {row.state}{f', {row.why}' if row.why else ''}" for key, row in index.rows.items()]
    owed = [f"{what}: {state}" for what, state in index.owed.items()]
    return "\n".join([*head, *rows, "", "Owed:", *owed]) + "\n"
