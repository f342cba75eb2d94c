"""The range that predictions come with: made from one half of the models of public runs, held against the other.

`scoreboard.py` writes what is made here to `src/eightgig/vram/tracing/accuracy.json`.
"""

import math
import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, get_args

from eightgig.vram.tracing.accuracy import NetworkKind

SHARE = 0.95
_FEWEST = 10  # runs; of fewer than 20 the largest error counts


class Judged(NamedTuple):
    """A measured run beside its prediction."""

    source: str
    model: str
    kind: NetworkKind
    measured: int
    predicted: int

    @property
    def above(self) -> float:
        """How much more was measured than predicted, as a share."""
        return self.measured / self.predicted - 1


def halves_of(runs: Iterable[Judged]) -> tuple[list[Judged], list[Judged]]:
    """Return the runs that ranges are made from, and those that they are held against: no model is in both.

    Each source's models are shuffled with a seed; the first half of them makes the ranges.
    """
    runs = list(runs)
    makers = set[tuple[str, str]]()
    for source in sorted({run.source for run in runs}):
        models = sorted({run.model for run in runs if run.source == source})
        shuffled = random.Random(f"ranges {source}").sample(models, len(models))
        makers |= {(source, model) for model in shuffled[: len(shuffled) // 2]}
    made = [run for run in runs if (run.source, run.model) in makers]
    return made, [run for run in runs if (run.source, run.model) not in makers]


def ranges_of(runs: Sequence[Judged]) -> dict[NetworkKind, dict[str, Any]]:
    """Return the range of each kind; of one with too few runs the widest of the others."""
    made: dict[NetworkKind, dict[str, Any]] = {}
    for kind in get_args(NetworkKind):
        mine = [run for run in runs if run.kind == kind]
        if len(mine) >= _FEWEST:
            sources = ", ".join(sorted({f"{run.source} ({_count(mine, run.source)})" for run in mine}))
            made[kind] = {"above": _upper(mine), "num_runs": len(mine), "source": sources}
    if not made:
        raise SystemExit(f"no kind of network has {_FEWEST} runs: no range can be stated")
    widest = max(made, key=lambda kind: made[kind]["above"])
    return {kind: made.get(kind) or _taken_over(widest, made[widest]) for kind in get_args(NetworkKind)}


def _taken_over(kind: NetworkKind, wide: dict[str, Any]) -> dict[str, Any]:
    return {"above": wide["above"], "num_runs": 0, "source": f"no public runs of this kind: that of {kind}"}


def _count(runs: Sequence[Judged], source: str) -> int:
    return sum(run.source == source for run in runs)


def _upper(runs: Sequence[Judged]) -> float:
    ordered = sorted(run.above for run in runs)
    position = min(len(ordered), math.ceil(SHARE * (len(ordered) + 1)))  # as for a run yet to come, not for these alone
    return round(max(0.0, ordered[position - 1]), 3)


def held(runs: Iterable[Judged], ranges: dict[NetworkKind, Any]) -> dict[str, dict[str, float]]:
    """Return by source and kind how many runs there are, and the share of them below the range's upper end."""
    groups: dict[str, list[bool]] = {}
    for run in runs:
        below = run.measured <= round(run.predicted * (1 + ranges[run.kind]["above"]))
        for name in (run.source, f"{run.source}, {run.kind}"):
            groups.setdefault(name, []).append(below)
    return {name: {"rows": len(below), "held": round(sum(below) / len(below), 3)} for name, below in groups.items()}
