"""The report's sections: each turns one stage's results into what a person reads."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from eightgig.bench.records import ClassificationReport
from eightgig.core.records import Record
from eightgig.core.units import format_bytes
from eightgig.data.sources import RawPictures
from eightgig.datasets.weights import WeightsCard
from eightgig.stages.annotations import Figure, ImageStore, Picture, Table
from eightgig.stages.trained import indices_of
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.trace import VramTrace

if TYPE_CHECKING:
    from eightgig.report import page as report

_MOST_PICTURES = 24


def headline(
    card: WeightsCard, metrics: ClassificationReport, plan: MemoryPlan, trace: VramTrace, benchmark: Table
) -> "list[report.Fact]":
    """Give the four figures a person should see first."""
    from eightgig.report.page import Fact

    train = trace.phases[0]
    recommended = [
        Fact(
            f"Recommended on this {'CPU' if row['device'] == 'cpu' else 'GPU'}",
            str(row["variant"]),
            f"{row['latency_p50_ms']:.1f} ms a picture, {row['speedup_vs_torch']:.1f} x torch, "
            f"{row['accuracy']:.1%} right",
        )
        for _, row in benchmark[benchmark["recommended"]].iterrows()
    ]
    return [
        Fact(
            f"Accuracy on {metrics.num_images} held-out pictures",
            f"{metrics.accuracy:.1%}",
            f"top-5 {metrics.top5_accuracy:.1%}, macro F1 {metrics.macro_f1:.3f}",
            mark="good",
        ),
        Fact("Model", card.model.rpartition("/")[2], f"{card.num_parameters / 1e6:.1f} million parameters"),
        Fact(
            "Peak memory in training",
            format_bytes(train.measured.peak_bytes),
            f"predicted {format_bytes(train.predicted_bytes)}, budget {format_bytes(plan.budget_bytes)}"
            + ("" if plan.device == "cuda" else "; on the CPU: growth of resident memory"),
            part=min(1.0, train.measured.peak_bytes / plan.budget_bytes),
        ),
        *recommended,
    ]


def data_section(
    raw: RawPictures, rejects: Table, store: ImageStore, splits: Table, balance: Figure
) -> "report.Section":
    """Show what the network learned from."""
    from eightgig.report.page import Chart, Gallery, Section
    from eightgig.report.page import Table as PageTable

    rows = [
        (split, int((splits["split"] == split).sum()), splits.loc[splits["split"] == split, "class_name"].nunique())
        for split in ("train", "val", "test")
    ]
    refused = [
        PageTable.from_frame(rejects.head(20), caption=f"{len(rejects)} files were refused (all are in rejects.csv)")
    ]
    return Section(
        "What was trained on what",
        f"{raw.origin}: {len(store):,} pictures in {len(store.classes)} classes. Splits are stratified; copies of one "
        "picture stay together, so none is in two splits." + ("" if len(rejects) else "\n\nNo file was refused."),
        [
            PageTable(("split", "pictures", "classes"), rows),
            Chart(balance, "Pictures of each class"),
            Gallery(list(_samples(store, splits)), "From the training pictures"),
            *(refused if len(rejects) else []),
        ],
    )


def training_section(card: WeightsCard, curves: Figure) -> "report.Section":
    """Show how the training went."""
    from eightgig.report.page import Chart, Section

    return Section(
        "Training",
        f"Started from: {card.started_from}. The weights kept are those of epoch {card.best_epoch}, the best on the "
        f"validation pictures ({card.val_accuracy:.1%}).",
        [Chart(curves)],
    )


def results_section(metrics: ClassificationReport, confusion: Figure, per_class: Figure) -> "report.Section":
    """Show how good the network is on pictures that neither training nor the choice of the epoch saw."""
    from eightgig.report.page import Chart, Fact, Facts, Section

    facts = [
        Fact("accuracy", f"{metrics.accuracy:.2%}"),
        Fact("top-5 accuracy", f"{metrics.top5_accuracy:.2%}"),
        Fact("macro F1", f"{metrics.macro_f1:.4f}"),
        Fact("calibration error", f"{metrics.expected_calibration_error:.4f}"),
    ]
    return Section(
        "Results on held-out pictures",
        f"{metrics.num_images:,} test pictures, used for nothing else.",
        [Facts(facts), Chart(confusion, "What was taken for what"), Chart(per_class, "By class")],
    )


def errors_section(store: ImageStore, predictions: Table) -> "report.Section":
    """Show the wrong predictions, the surest ones first."""
    from eightgig.report.page import Gallery, Picture, Section

    wrong = predictions[~predictions["correct"]].sort_values("probability", ascending=False)
    pictures = [
        Picture.from_array(
            store.decode(int(row["index"])),
            f"{row['predicted']} ({row['probability']:.0%})",
            note=f"is {row['class_name']}: {row['path']}",
            mark="bad",
        )
        for _, row in wrong.head(_MOST_PICTURES).iterrows()
    ]
    shown = f"; the {len(pictures)} surest are shown" if len(wrong) > len(pictures) else ""
    prose = f"{len(wrong)} of {len(predictions)} test pictures{shown}." if len(wrong) else "None of the test pictures."
    return Section("What it got wrong", prose, [Gallery(pictures)] if pictures else [])


def new_pictures_section(table: Table, sheet: Picture) -> "report.Section":
    """Show what the `predict` stage said last."""
    from eightgig.report.page import Gallery, Picture, Section
    from eightgig.report.page import Table as PageTable
    from eightgig.report.pictures import to_data_uri

    return Section(
        "Predictions",
        "The trained network on single pictures, as `--tags predict` does it; without a source, on held-out ones.",
        [
            Gallery([Picture(to_data_uri(sheet, longest_side_px=1200))]),
            PageTable.from_frame(table.head(_MOST_PICTURES), formats={"probability": ".1%"}),
        ],
    )


def making_section(card: WeightsCard, parameters: Mapping[str, Record]) -> "report.Section":
    """Show what it takes to do the same again."""
    import platform
    from datetime import UTC, datetime

    from eightgig.report.page import Code, Fact, Facts, Section

    made = [
        Fact("made on", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        Fact("trained on", card.trained_on),
        Fact("system", platform.system()),
        Fact("Python", platform.python_version()),
        Fact("torch", card.torch_version),
        Fact("weights, SHA-256", card.sha256[:16]),
    ]
    lines = [f"{name}: {value}" for group, record in parameters.items() for name, value in _leaves(record, group)]
    return Section("How it was made", "", [Facts(made), Code("\n".join(lines), "Parameters")])


def _leaves(record: Record, name: str) -> Iterator[tuple[str, Any]]:
    for key in type(record).model_fields:
        value = getattr(record, key)
        if isinstance(value, Record):
            yield from _leaves(value, f"{name}.{key}")
        else:
            yield f"{name}.{key}", value


def _samples(store: ImageStore, splits: Table) -> "Iterator[report.Picture]":
    from eightgig.report.page import Picture

    indices = indices_of(splits, "train")
    for index in indices[:: max(1, len(indices) // 12)][:12]:
        yield Picture.from_array(store.decode(index), store.classes[int(store.labels[index])])
