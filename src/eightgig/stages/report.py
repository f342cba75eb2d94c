"""Report: the figures, and one page that shows the whole run."""

from kedro.pipeline import Pipeline

from eightgig.bench.records import ClassificationReport
from eightgig.core.units import gib
from eightgig.data.parameters import DataParameters
from eightgig.data.sources import RawPictures
from eightgig.datasets.weights import Weights
from eightgig.export.int8.records import QuantizationReport
from eightgig.models.compression import CompressionReport
from eightgig.models.parameters import ModelParameters
from eightgig.stages import compress_page, export_page, memory_page, page
from eightgig.stages.annotations import Figure, ImageStore, Picture, Table
from eightgig.stages.case import stage_node, stage_pipeline
from eightgig.stages.export import ParityTable
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.measure import MeasuredPhase
from eightgig.vram.trace import VramTrace

_FIGURES = ("curves", "memory_step", "memory_phases", "confusion", "per_class", "speed", "balance")


def create_pipeline() -> Pipeline:
    """Give the nodes from all results to the figures and `report`."""
    results = {
        "splits": "splits",
        "history": "history",
        "memory_plan": "memory_plan",
        "vram_trace": "vram_trace",
        "export_memory": "export_memory",
        "per_class": "per_class_table",
        "confusion": "confusion_table",
        "benchmark": "benchmark_table",
    }
    page_inputs = {
        "title": "params:title",
        "raw": "raw",
        "rejects": "rejects",
        "store": "store",
        "splits": "splits",
        "weights": "weights",
        "memory_plan": "memory_plan",
        "vram_trace": "vram_trace",
        "export_memory": "export_memory",
        "history": "history",
        "metrics": "metrics",
        "predictions": "predictions_table",
        "parity": "parity",
        "benchmark": "benchmark_table",
        "latency": "latency_table",
        "quantization": "quantization",
        "engines": "engines_table",
        "compression": "compression",
        "new_pictures": "predict_table",
        "new_pictures_sheet": "predict_sheet",
        "model": "params:model",
        "data": "params:data",
        "train": "params:train",
        **{f"{name}_figure": f"{name}_figure" for name in _FIGURES},
    }
    figures = [f"{name}_figure" for name in _FIGURES]
    return stage_pipeline(
        "report", [stage_node(draw_figures, results, figures), stage_node(write_page, page_inputs, "report")]
    )


def draw_figures(
    splits: Table,
    history: Table,
    memory_plan: MemoryPlan,
    vram_trace: VramTrace,
    export_memory: MeasuredPhase,
    per_class: Table,
    confusion: Table,
    benchmark: Table,
) -> tuple[Figure, Figure, Figure, Figure, Figure, Figure, Figure]:
    """Give the figures of the page: curves, memory over a step and by phase, confusion, classes, speed, balance."""
    from eightgig.report import figures, memory, speed

    budget_gib = gib(memory_plan.budget_bytes)
    by_split = splits.sort_values("split", key=lambda names: names.map(["train", "val", "test"].index), kind="stable")
    counts = by_split.groupby(["class_name", "split"], sort=False).size().rename("num_images").reset_index()
    return (
        figures.training_curves(history),
        memory.memory_over_step(
            memory_page.timeline_table(memory_plan), budget_gib, measured_gib=memory_page.measured_peak_gib(vram_trace)
        ),
        memory.memory_against_budget(memory_page.phases_table(memory_plan, vram_trace, export_memory), budget_gib),
        figures.confusion(confusion.set_index(confusion.columns[0])),
        figures.per_class(per_class),
        speed.speed_against_accuracy(benchmark),
        figures.class_balance(counts.rename(columns={"class_name": "class"})),
    )


def write_page(
    title: str,
    raw: RawPictures,
    rejects: Table,
    store: ImageStore,
    splits: Table,
    weights: Weights,
    memory_plan: MemoryPlan,
    vram_trace: VramTrace,
    export_memory: MeasuredPhase,
    history: Table,
    metrics: ClassificationReport,
    predictions: Table,
    parity: ParityTable,
    benchmark: Table,
    latency: Table,
    quantization: QuantizationReport,
    engines: Table,
    compression: CompressionReport,
    new_pictures: Table,
    new_pictures_sheet: Picture,
    data: DataParameters,
    model: ModelParameters,
    train: TrainParameters,
    **figures: Figure,
) -> str:
    """Give the page: what was trained on what, the plan, the training, the results, the variants, the errors."""
    from eightgig.report.page import Page, render_page

    card = weights.card
    sections = [
        page.data_section(raw, rejects, store, splits, figures["balance_figure"]),
        memory_page.memory_section(
            memory_plan,
            vram_trace,
            export_memory,
            history,
            step=figures["memory_step_figure"],
            phases=figures["memory_phases_figure"],
        ),
        page.training_section(card, figures["curves_figure"]),
        page.results_section(metrics, figures["confusion_figure"], figures["per_class_figure"]),
        export_page.variants_section(benchmark, latency, parity, figures["speed_figure"]),
        compress_page.compression_section(compression, benchmark),
        export_page.int8_section(quantization),
        export_page.engines_section(engines),
        page.errors_section(store, predictions),
        page.new_pictures_section(new_pictures, new_pictures_sheet),
        page.making_section(card, {"data": data, "model": model, "train": train}),
    ]
    return render_page(
        Page(
            title=title,
            subtitle=f"{card.model} on {raw.origin}; trained on {card.trained_on}.",
            headline=page.headline(card, metrics, memory_plan, vram_trace, benchmark),
            sections=sections,
            footer=f"eightgig {card.eightgig_version}",
        )
    )
