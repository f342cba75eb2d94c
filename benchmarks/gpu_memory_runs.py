"""Reads measured GPU memory by model and batch size, and says which rows are whole runs.

The table (model, batch size, peak MiB of the whole process) has runs that died: what they show is how far they came. A
row counts as a whole run when it lies on the line through its model's other rows, since memory is nearly a straight
line over the batch size. The rule looks at the measurements alone, never at a prediction.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

# Runs within the last 4 % of the card were squeezed: the allocator gave memory back and asked again, or died.
NEARLY_FULL_MIB = 39_000
ON_THE_LINE = 0.06
SMALLEST_PROCESS_MIB = 1_000  # no line may start below what an empty process takes,
LARGEST_START_MIB = 12_000  # or above what 0.9 billion weights, their gradients and momenta take
DIFFERENT = 0.005

Verdict = Literal["whole run", "did not fit", "excluded"]


@dataclass(frozen=True)
class Row:
    """One run, and what to make of it."""

    model: str
    batch_size: int
    measured_mib: int
    verdict: Verdict
    reason: str = ""


def read_runs(path: Path, capacity_mib: float) -> dict[str, list[Row]]:
    """Return all rows by model, judged."""
    measured: dict[str, dict[int, int]] = defaultdict(dict)
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            measured[line["timm_model"]][int(line["batch_size"])] = int(line["max_gpu_memory_mib"])
    return {model: list(_judge(model, sorted(rows.items()), capacity_mib)) for model, rows in measured.items()}


def _judge(model: str, rows: list[tuple[int, int]], capacity_mib: float) -> Iterator[Row]:
    line = _line(rows)
    for batch_size, mib in rows:
        if line is None:
            yield Row(model, batch_size, mib, "excluded", "no three rows of its model lie on a line: its runs died")
            continue
        start, slope, whole = line
        expected = start + slope * batch_size
        if (batch_size, mib) in whole:
            yield Row(model, batch_size, mib, "whole run")
        elif expected > capacity_mib:
            yield Row(model, batch_size, mib, "did not fit", f"its line asks for {expected:.0f} MiB here")
        elif mib >= NEARLY_FULL_MIB:
            yield Row(model, batch_size, mib, "excluded", f"squeezed: {mib} MiB, where its line has {expected:.0f}")
        elif mib < expected:
            yield Row(model, batch_size, mib, "excluded", f"died early: {mib} MiB, where its line has {expected:.0f}")
        else:
            yield Row(model, batch_size, mib, "excluded", f"far above its own line, which has {expected:.0f} MiB here")


def _line(rows: list[tuple[int, int]]) -> tuple[float, float, list[tuple[int, int]]] | None:
    """Return start, slope and rows of the line on which most rows lie, at least three."""
    usable = [(batch, mib) for batch, mib in rows if mib < NEARLY_FULL_MIB]
    if any(abs(a - b) < DIFFERENT * a for (m, a), (n, b) in combinations(usable, 2) if m >= 16 and n >= 16):
        return None  # the same memory at twice the batch: nothing was trained
    best: tuple[tuple[int, float], float, float, list[tuple[int, int]]] | None = None
    for (m, a), (n, b) in combinations(usable, 2):
        slope = (b - a) / (n - m)
        start = a - slope * m
        if slope <= 0 or not SMALLEST_PROCESS_MIB <= start <= LARGEST_START_MIB:
            continue
        near = [(batch, mib) for batch, mib in usable if abs(mib - start - slope * batch) <= ON_THE_LINE * mib]
        misfit = sum(abs(mib - start - slope * batch) / mib for batch, mib in near)
        if best is None or (len(near), -misfit) > best[0]:
            best = (len(near), -misfit), start, slope, near
    return None if best is None or best[0][0] < 3 else (best[1], best[2], best[3])
