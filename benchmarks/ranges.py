"""The range that predictions come with, from public runs, and how often it holds for models that it is not from.

`scoreboard.py` writes what is made here to `src/eightgig/vram/tracing/accuracy.json`.
"""

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, get_args

from eightgig.vram.tracing.accuracy import NetworkKind

SHARE = 0.95
_HALVINGS = 100  # so that one lucky half does not count
_FEWEST = 10  # runs; of fewer than 20 the largest error counts


class TooFewRunsError(ValueError):
    """No range can be stated."""


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


def halves_of(runs: Iterable[Judged], seed: int) -> tuple[list[Judged], list[Judged]]:
    """Return runs in two halves of each source's models, which a seed draws: no model is in both."""
    runs = list(runs)
    first = set[tuple[str, str]]()
    for source in sorted({run.source for run in runs}):
        models = sorted({run.model for run in runs if run.source == source})
        shuffled = random.Random(f"{seed} {source}").sample(models, len(models))
        first |= {(source, model) for model in shuffled[: len(shuffled) // 2]}
    return (
        [run for run in runs if (run.source, run.model) in first],
        [run for run in runs if (run.source, run.model) not in first],
    )


def ranges_of(runs: Sequence[Judged]) -> dict[NetworkKind, dict[str, Any]]:
    """Return the range of each kind; of one with too few runs the widest of the others."""
    made: dict[NetworkKind, dict[str, Any]] = {}
    for kind in get_args(NetworkKind):
        mine = [run for run in runs if run.kind == kind]
        if len(mine) >= _FEWEST:
            sources = ", ".join(sorted({f"{run.source} ({_count(mine, run.source)})" for run in mine}))
            made[kind] = {"above": _upper(mine), "num_runs": len(mine), "source": sources}
    if not made:
        raise TooFewRunsError(f"no kind of network has {_FEWEST} runs: no range can be stated")
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


def held(runs: Iterable[Judged]) -> dict[str, dict[str, float]]:
    """Return how often a range holds for models that it was not made from, by source and by kind in it.

    Of each of many halves of the models the range is made, and held against the other half.
    """
    runs = list(runs)
    below: dict[str, list[bool]] = {}
    for seed in range(_HALVINGS):
        makers, others = halves_of(runs, seed)
        try:
            ranges = ranges_of(makers)
        except TooFewRunsError:
            continue
        for run in others:
            is_below = run.measured <= round(run.predicted * (1 + ranges[run.kind]["above"]))
            for name in (run.source, f"{run.source}, {run.kind}"):
                below.setdefault(name, []).append(is_below)
    numbers = Counter(name for run in runs for name in (run.source, f"{run.source}, {run.kind}"))
    return {name: {"rows": numbers[name], "held": round(sum(seen) / len(seen), 3)} for name, seen in below.items()}
