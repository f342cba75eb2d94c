"""Measured GPU memory of other people's runs, from each source's own table in one schema (`make bench-scoreboard`).

The tables are not part of the project; the readers take a folder that has them. A row that says nothing about what a
run needs is left out: one that died, one at the card's limit, a language model's with so few texts that the longest of
a batch varies from run to run.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from public_workloads import IMAGE_MODELS, TEXT_MODELS

from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.workspace import Generation

Kind = Literal["convolutions", "attention"]

# From this number on a batch of wikitext lines has one of 128 tokens in all repeats of a run.
_STEADY_TEXTS = 15
_OTHERS = {"xmem_bytes": "xMem", "dnnmem_bytes": "DNNMem", "schedtune_bytes": "SchedTune", "llmem_bytes": "LLMem"}


class PublicCard(NamedTuple):
    """A card; from `nearly_full` bytes on a run was squeezed: the allocator gave memory back to go on, or it died."""

    name: str
    generation: Generation
    nearly_full: float


_CARDS = {
    "NVIDIA GeForce RTX 4060": PublicCard("RTX 4060", "ada", 7.7e9),
    "NVIDIA GeForce RTX 3060": PublicCard("RTX 3060", "ampere", 11.9e9),
}


class Asked(NamedTuple):
    """What a run did, as the predictor is asked for it."""

    source: str
    card: PublicCard
    model: str
    kind: Kind
    workload: WorkloadSpec
    options: StepOptions

    @property
    def name(self) -> str:
        """The run in few words."""
        return f"{self.model}, {self.options.optimizer}, {self.options.micro_batch}, {self.card.name}"


class MeasuredRun(NamedTuple):
    """A run and the most memory that it took beside the context; `published` are others' predictions of it."""

    asked: Asked
    measured_bytes: int
    published: dict[str, int]


class CappedRun(NamedTuple):
    """A run whose allocator was given a cap, and whether it ran."""

    asked: Asked
    cap_bytes: int
    ran: bool


def measured_runs(folder: Path) -> Iterator[MeasuredRun]:
    """Yield the fair rows of xMem's runs (Stone-ResearchLife/xMem; arXiv 2510.21048), in the table's order."""
    for line in _lines(folder / "xmem_runs.csv"):
        asked, measured = _asked(line), int(line["measured_peak_bytes"])
        died = line["oom"] == "True"
        if asked is None or died or measured > asked.card.nearly_full or _is_unsteady(asked):
            continue
        published = {name: int(float(line[column])) for column, name in _OTHERS.items() if line[column]}
        yield MeasuredRun(asked, measured, {name: size for name, size in published.items() if size > 0})


def capped_runs(folder: Path) -> Iterator[CappedRun]:
    """Yield the same runs under caps (`set_per_process_memory_fraction`)."""
    for line in _lines(folder / "xmem_capped_runs.csv"):
        asked = _asked(line)
        if asked is not None and not _is_unsteady(asked):
            yield CappedRun(asked, int(line["cap_bytes"]), ran=line["capped_run_oom"] != "True")


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _asked(line: dict[str, str]) -> Asked | None:
    """Return what a row's run did; None for a model that nobody has written down here."""
    model = line["model"]
    factory = "text_model" if model in TEXT_MODELS else "image_model" if model in IMAGE_MODELS else None
    if factory is None:
        return None
    # torch's defaults, but for the rate: SGD without momentum, Adagrad and RMSprop with their one state.
    arguments: dict[str, Any] = {"momentum": 0, "weight_decay": 0} if line["optimizer"] == "SGD" else {}
    options = StepOptions(
        micro_batch=int(line["batch_size"]),
        optimizer=line["optimizer"],
        optimizer_arguments=arguments,
        clips_gradients=False,
    )
    workload = WorkloadSpec(factory=f"public_workloads:{factory}", options={"name": model})
    kind: Kind = "attention" if factory == "text_model" else "convolutions"
    return Asked("xMem", _CARDS[line["gpu"]], model, kind, workload, options)


def _is_unsteady(asked: Asked) -> bool:
    return asked.kind == "attention" and asked.options.micro_batch < _STEADY_TEXTS
