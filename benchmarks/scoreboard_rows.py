"""What is kept of the scoreboard: measured runs beside all that was predicted of them, one line of JSON each."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mem_tracker import TOOL
from ranges import Judged

from eightgig.vram.tracing.accuracy import NetworkKind

# The stated range is made of these; the others are too few, and recompute activations.
_OF_RANGES = ("xMem", "GPUMemNet")


class Row(NamedTuple):
    """A measured run with all that was predicted of it, by tool, in bytes."""

    source: str
    name: str
    model: str
    card: str
    kind: NetworkKind
    measured: int
    predicted: dict[str, int]

    @property
    def judged(self) -> Judged:
        """The run beside our prediction of it."""
        return Judged(self.source, self.model, self.kind, self.measured, self.predicted["eightgig"])

    @property
    def makes_ranges(self) -> bool:
        """Whether the stated range is made of it too."""
        return self.source in _OF_RANGES

    def error(self, tool: str) -> float:
        """Return the signed share by which a tool's prediction is off."""
        return self.predicted[tool] / self.measured - 1


class Verdict(NamedTuple):
    """Whether a run was said to fit under a cap, and whether it ran."""

    name: str
    cap: int
    needed: int
    surely_needed: int
    ran: bool

    @property
    def fits(self) -> bool:
        """What was said by the middle of the prediction."""
        return self.needed <= self.cap

    @property
    def surely_fits(self) -> bool:
        """What was said by its upper end, which plans keep to."""
        return self.surely_needed <= self.cap


class Predicted(NamedTuple):
    """All that is kept of a source.

    Attributes:
        predicted_on: the machine and the libraries.
        on: the day.
        rows: runs.
        capped: runs under a cap.
        left_out: how many rows of the source's table are not predicted, by reason.
        seconds: that each prediction took.
        tracked: what `MemTracker` said of some runs, by name: bytes, or its kind of error.
    """

    predicted_on: str
    on: str
    rows: tuple[Row, ...]
    capped: tuple[Verdict, ...] = ()
    left_out: Mapping[str, int] = {}
    seconds: tuple[float, ...] = ()
    tracked: Mapping[str, int | str] = {}

    def with_tracked(self) -> Iterator[Row]:
        """Yield the runs with what the tracker said of them, where it said something."""
        for row in self.rows:
            peak = self.tracked.get(row.name)
            yield row._replace(predicted={**row.predicted, TOOL: peak}) if isinstance(peak, int) else row


def write_kept(kept: Mapping[str, Predicted], path: Path) -> None:
    """Write sources, their runs a line each."""
    path.write_text("".join(f"{json.dumps(line)}\n" for line in _lines(kept)), encoding="utf-8")


def _lines(kept: Mapping[str, Predicted]) -> Iterator[dict[str, Any]]:
    for table, source in kept.items():
        seconds = [round(took, 2) for took in source.seconds]
        head = source._replace(rows=(), capped=(), seconds=())._asdict()
        yield {"table": table, **{name: head[name] for name in ("predicted_on", "on", "left_out", "tracked")}}
        yield {"seconds": seconds}
        yield from ({"run": list(row)} for row in source.rows)
        yield from ({"capped": list(verdict)} for verdict in source.capped)


def read_kept(path: Path) -> dict[str, Predicted]:
    """Return what is kept, by table; nothing where nothing is."""
    kept: dict[str, Predicted] = {}
    table = ""
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        line = json.loads(text)
        if "table" in line:
            table = line.pop("table")
            kept[table] = Predicted(rows=(), **line)
        elif "seconds" in line:
            kept[table] = kept[table]._replace(seconds=tuple(line["seconds"]))
        elif "run" in line:
            kept[table] = kept[table]._replace(rows=(*kept[table].rows, Row(*line["run"])))
        else:
            kept[table] = kept[table]._replace(capped=(*kept[table].capped, Verdict(*line["capped"])))
    return kept
