"""Measured GPU memory of other people's runs, from each source's own table in one schema (`make bench-scoreboard`).

The tables are not part of the project; the readers take a folder that has them. A row that says nothing about what a
run needs is left out: one that died, one at the card's limit, a language model's with so few texts that the longest of
a batch varies from run to run.

- `xmem_runs.csv`, `xmem_capped_runs.csv`: Stone-ResearchLife/xMem (arXiv 2510.21048), torch 2.6, transformers 4.51.3,
  float32; the card's used memory less its first sample.
- `gpu_memory_runs.csv`: itu-rad/GPUMemNet, timm's training script in float32; all memory of the process.
"""

import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gpu_memory_runs import NEARLY_FULL_MIB, read_runs
from public_workloads import IMAGE_MODELS, TEXT_MODELS
from vram_accuracy import CAPACITY_MIB, timm_options, timm_spec

from eightgig.core.units import MIB
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.workspace import Generation

# From this number on a batch of wikitext lines has one of 128 tokens in all repeats of a run.
_STEADY_TEXTS = 15
_OTHERS = {"xmem_bytes": "xMem", "dnnmem_bytes": "DNNMem", "schedtune_bytes": "SchedTune", "llmem_bytes": "LLMem"}


class PublicCard(NamedTuple):
    """A card; from `nearly_full` bytes on a run was squeezed: the allocator gave memory back to go on, or it died."""

    name: str
    generation: Generation
    memory_gib: float
    nearly_full: float


_CARDS = {
    "NVIDIA GeForce RTX 4060": PublicCard("RTX 4060", "ada", 7.747, 7.7e9),
    "NVIDIA GeForce RTX 3060": PublicCard("RTX 3060", "ampere", 11.755, 11.9e9),
}
_A100 = PublicCard("A100 40 GB", "ampere", CAPACITY_MIB / 1024, NEARLY_FULL_MIB * MIB)
_ACCURACY = Path(__file__).parent / "results" / "vram_accuracy-a100.json"


class Asked(NamedTuple):
    """What a run did, as the predictor is asked for it."""

    source: str
    card: PublicCard
    model: str
    workload: WorkloadSpec
    options: StepOptions
    setting: str = ""

    @property
    def name(self) -> str:
        """The run in few words."""
        said = f"{self.model}, {self.setting}" if self.setting else self.model
        return f"{said}, {self.options.optimizer}, {self.options.micro_batch}, {self.card.name}"


class MeasuredRun(NamedTuple):
    """A run and the most memory that was measured.

    Attributes:
        asked: what it did.
        measured_bytes: by the source.
        published: others' predictions of it.
        beside_bytes: what the figure holds that no step takes: the context, libraries.
        measure: which of torch's counters the figure is, or is nearest to.
    """

    asked: Asked
    measured_bytes: int
    published: dict[str, int]
    beside_bytes: int = 0
    measure: Literal["allocated", "reserved"] = "reserved"


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


def gpumemnet_runs(folder: Path, *, num_models: int, seed: int = 0) -> Iterator[MeasuredRun]:
    """Yield one whole run each of some models of GPUMemNet's table; nothing where the folder has none.

    What a process takes beside its tensors was fitted on other models (`vram_accuracy.py`).
    """
    path = folder / "gpu_memory_runs.csv"
    if not path.exists():
        return
    beside = json.loads(_ACCURACY.read_text(encoding="utf-8"))["constants"]["overhead_mib"]
    whole = {
        model: [row for row in rows if row.verdict == "whole run"]
        for model, rows in read_runs(path, CAPACITY_MIB).items()
    }
    named = sorted(model for model, rows in whole.items() if rows)
    models = random.Random(seed).sample(named, len(named))
    for model in models[:num_models]:
        row = random.Random(f"{seed} {model}").choice(whole[model])
        asked = Asked("GPUMemNet", _A100, model, timm_spec(row), timm_options(row))
        yield MeasuredRun(asked, row.measured_mib * MIB, {}, beside * MIB)


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
    return Asked("xMem", _CARDS[line["gpu"]], model, workload, options)


def _is_unsteady(asked: Asked) -> bool:
    return asked.model in TEXT_MODELS and asked.options.micro_batch < _STEADY_TEXTS
