"""What stands first on an MLflow run's page: a few figures under short names, and a description of some lines."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from eightgig.core.records import Record
from eightgig.core.units import gib
from eightgig.report.memory_metrics import is_comparable, plan_metrics, trace_metrics
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.trace import VramTrace

_DIGITS = 4  # of a figure in a text


class MainFigures(NamedTuple):
    """The figures of one result that a person looks for first.

    Attributes:
        numbers: to be metrics.
        texts: to be tags.
    """

    numbers: Mapping[str, float] = {}
    texts: Mapping[str, str] = {}


def main_figures(name: str, data: Any, chosen: Sequence[str] = ()) -> MainFigures:
    """Return a result's main figures; most results have none.

    Args:
        name: of the dataset, without its case.
        data: as it was saved.
        chosen: the fields of a record that its catalog entry calls its main ones.
    """
    if isinstance(data, VramTrace) and data.phases:
        train = data.phases[0]
        measured = "measured" if is_comparable(train.measured) else "growth_of_process"
        peaks = {"predicted": train.predicted_bytes, measured: train.measured.peak_bytes}
        return MainFigures({f"peak_memory_{which}_gib": gib(peak) for which, peak in peaks.items()})
    if name == "benchmark_table" and set(data.columns) >= {"recommended", "variant", "device", "latency_p50_ms"}:
        best = data[data["recommended"]]
        devices = best["device"].str.partition(":")[0]
        return MainFigures(
            {f"latency_{device}_ms": float(ms) for device, ms in zip(devices, best["latency_p50_ms"], strict=True)},
            {f"recommended_{device}": str(form) for device, form in zip(devices, best["variant"], strict=True)},
        )
    return MainFigures({field: float(getattr(data, field)) for field in chosen})


class RunPage:
    """A run's description, from what it has made so far.

    Args:
        pipelines: what was run.
        stages: which of its stages.
    """

    def __init__(self, pipelines: str, stages: str) -> None:
        self._title, self._subtitle = pipelines, f"Stages: {stages}." if stages else ""
        self._rows: list[tuple[str, str, str]] = []
        self._page: str | None = None

    def add(self, name: str, data: Any, figures: MainFigures) -> None:
        """Take up a result; a page of the run says it better than its figures one by one."""
        if name == "report":
            self._title, self._subtitle, self._page = data.title, data.subtitle, "report/report.html"
            self._rows = [(fact.label, shown(fact.value), fact.note) for fact in data.headline]
        elif self._page is None:
            found = {**figures.numbers, **figures.texts}
            self._rows += [(key.replace("_", " "), shown(value), "") for key, value in found.items()]

    def description(self) -> str:
        """Return it as Markdown."""
        lines = [f"**{self._title}**", self._subtitle]
        if self._rows:
            lines.append("\n".join(["| | | |", "|---|---|---|", *(_row(cells) for cells in self._rows)]))
        if self._page:
            lines.append(f"The page with all of it: artifact `{self._page}`.")
        return "\n\n".join(filter(None, lines))


def all_figures(record: Record) -> dict[str, float]:
    """Return a record's figures by their dotted names: those that its kind is known by, or else all its numbers."""
    match record:
        case MemoryPlan():
            return plan_metrics(record)
        case VramTrace():
            return trace_metrics(record)
        case _:
            return dict(_numbers(record.model_dump(), ""))


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield what nested mappings hold, by dotted names that begin with `name`."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """Yield a record's numbers by their dotted names; of lists only those by phase, since a class may have any name."""
    if isinstance(value, list | tuple):
        value = {item["phase"]: item for item in value if isinstance(item, dict) and "phase" in item}
    for key, leaf in leaves(value, name):
        if isinstance(leaf, list | tuple):
            yield from _numbers(leaf, key)
        elif isinstance(leaf, int | float) and not isinstance(leaf, bool):
            yield key, float(leaf)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def shown(value: Any) -> str:
    """Write a figure for a person."""
    return f"{value:,.{_DIGITS}g}" if isinstance(value, float) else str(value)
