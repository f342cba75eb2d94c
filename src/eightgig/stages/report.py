"""Report: the figures, and one page that shows the whole run."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from kedro.pipeline import Pipeline

from eightgig.core.units import gib
from eightgig.data.images.parameters import DataParameters
from eightgig.datasets.weights import Weights
from eightgig.export.int8.records import QuantizationReport
from eightgig.export.parity import ParityTable
from eightgig.models.compression import CompressionReport
from eightgig.models.parameters import ModelParameters
from eightgig.report.page import Fact, Page, Section
from eightgig.report.sections import compression as compress_page
from eightgig.report.sections import export as export_page
from eightgig.report.sections import memory as memory_page
from eightgig.report.sections import training as page
from eightgig.report.sections.summary import in_words
from eightgig.stages.annotations import Figure, Table
from eightgig.stages.task import Records, stage_node, stage_pipeline
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.measure import MeasuredPhase
from eightgig.vram.trace import VramTrace

_FIGURES = ("curves", "memory_step", "memory_phases", "speed")


class Results(Protocol):
    """What the page shows of one kind of task; all else is the same for every case study.

    Sections find what they want in `shown`: the datasets that it names, and all figures as `NAME_figure`.

    Attributes:
        unit: what one sample is called: what a time or a number is of.
    """

    unit: str

    @property
    def records(self) -> Records:
        """As `eightgig.stages.task.Task` has them."""

    @property
    def drawn_from(self) -> Mapping[str, str]:
        """The datasets that `draw` takes, by argument."""

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures that `draw` gives, in this order."""

    @property
    def shown(self) -> Mapping[str, str]:
        """Further datasets that the sections want, by the name under which they find them."""

    @property
    def draw(self) -> Callable[..., tuple[Figure, ...]]:
        """The function that gives the figures."""

    def headline(self, shown: Mapping[str, Any]) -> Fact:
        """Return how good the network is, in one figure."""

    def data(self, raw: Any, rejects: Table, store: Any, splits: Table, shown: Mapping[str, Any]) -> Section:
        """Show what the network learned from."""

    def results(self, shown: Mapping[str, Any]) -> list[Section]:
        """Show how good the network is; stands before the forms of it."""

    def images(self, store: Any, shown: Mapping[str, Any]) -> list[Section]:
        """Show single samples; stands behind the forms."""


def create_pipeline(results: Results, *, compressed: bool = True) -> Pipeline:
    """Return the nodes from all results to the figures and `report`.

    Args:
        results: the case's part of the page.
        compressed: whether the pipeline has the compress stage.
    """
    common = {
        "history": "history",
        "weights": "weights",
        "memory_plan": "memory_plan",
        "vram_trace": "vram_trace",
        "export_memory": "export_memory",
        "benchmark": "benchmark_table",
    }
    page_inputs = {
        **common,
        "title": "params:title",
        "raw": "raw",
        "rejects": "rejects",
        "store": "store",
        "splits": "splits",
        "parity": "parity",
        "latency": "latency_table",
        "quantization": "quantization",
        "engines": "engines_table",
        "model": "params:model",
        "data": "params:data",
        "train": "params:train",
        **({"compression": "compression"} if compressed else {}),
        **results.shown,
        **{f"{name}_figure": f"{name}_figure" for name in (*_FIGURES, *results.figures)},
    }
    return stage_pipeline(
        "report",
        [
            stage_node(draw_figures, common, [f"{name}_figure" for name in _FIGURES]),
            stage_node(
                type(results).draw,
                dict(results.drawn_from),
                [f"{name}_figure" for name in results.figures],
                task=results,
                name="draw_results",
            ),
            stage_node(write_page, page_inputs, "report", task=results, records=results.records),
        ],
    )


def draw_figures(
    history: Table,
    weights: Weights,
    memory_plan: MemoryPlan,
    vram_trace: VramTrace,
    export_memory: MeasuredPhase,
    benchmark: Table,
) -> tuple[Figure, Figure, Figure, Figure]:
    """Return the figures that every page has: curves, memory over a step and by phase, speed."""
    from eightgig.report import figures, memory, speed

    budget_gib = gib(memory_plan.budget_bytes)
    return (
        figures.training_curves(history, weights.card.score_name),
        memory.memory_over_step(
            memory_page.timeline_table(memory_plan), budget_gib, measured_gib=memory_page.measured_peak_gib(vram_trace)
        ),
        memory.memory_against_budget(memory_page.phases_table(memory_plan, vram_trace, export_memory), budget_gib),
        speed.speed_against_score(benchmark),
    )


def write_page(
    results: Results,
    title: str,
    raw: Any,
    rejects: Table,
    store: Any,
    splits: Table,
    weights: Weights,
    memory_plan: MemoryPlan,
    vram_trace: VramTrace,
    export_memory: MeasuredPhase,
    history: Table,
    parity: ParityTable,
    benchmark: Table,
    latency: Table,
    quantization: QuantizationReport,
    engines: Table,
    data: DataParameters,
    model: ModelParameters,
    train: TrainParameters,
    compression: CompressionReport | None = None,
    **shown: Any,
) -> Page:
    """Return the page: what was trained on what, the plan, the training, the results, the variants, the errors."""
    card, quality = weights.card, results.headline(shown)
    sections = [
        results.data(raw, rejects, store, splits, shown),
        memory_page.memory_section(
            memory_plan,
            vram_trace,
            export_memory,
            history,
            step=shown["memory_step_figure"],
            phases=shown["memory_phases_figure"],
        ),
        page.training_section(card, history, shown["curves_figure"]),
        *results.results(shown),
        export_page.variants_section(benchmark, latency, parity, shown["speed_figure"], results.unit),
        *([compress_page.compression_section(compression, benchmark, results.unit)] if compression else []),
        export_page.int8_section(quantization, results.unit),
        export_page.engines_section(engines),
        *results.images(store, shown),
        page.making_section(card, {"data": data, "model": model, "train": train}),
    ]
    return Page(
        title=title,
        subtitle=f"{card.model} on {raw.origin}; trained on {card.trained_on}.",
        summary=in_words(quality, card, memory_plan, benchmark, history),
        headline=page.headline(quality, card, memory_plan, vram_trace, benchmark, results.unit),
        sections=sections,
        footer=f"eightgig {card.eightgig_version}",
    )
