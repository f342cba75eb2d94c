"""The report's sections: each turns one stage's results into what a person reads."""

from collections.abc import Iterator, Mapping
from typing import Any

from eightgig.core.records import Record
from eightgig.core.units import format_bytes
from eightgig.models.cards import WeightsCard
from eightgig.report.annotations import Figure, ImageArray, Table
from eightgig.report.page import Chart, Code, Fact, Facts, Gallery, Image, Section
from eightgig.report.page import Table as PageTable
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.trace import VramTrace

_MOST_IMAGES = 24


def headline(
    quality: Fact, card: WeightsCard, plan: MemoryPlan, trace: VramTrace, benchmark: Table, unit: str
) -> list[Fact]:
    """Return the figures a person should see first; `quality` is how good the network is, `unit` what a sample is."""
    train = trace.phases[0]
    recommended = [
        Fact(
            f"Recommended on this {'CPU' if row['device'] == 'cpu' else 'GPU'}",
            str(row["variant"]),
            f"{row['latency_p50_ms']:.1f} ms per {unit}, {row['speedup_vs_torch']:.1f} x torch, "
            f"{row['score_name']} {row['score']:.1%}{judged_on(benchmark, unit)}",
        )
        for _, row in benchmark[benchmark["recommended"]].iterrows()
    ]
    return [
        quality,
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


def judged_on(benchmark: Table, unit: str) -> str:
    """Return on how many samples the variants were judged, for behind a score that is not of all test samples."""
    if "judged_on" not in benchmark:  # a table of an older version
        return ""
    judged, held_out = int(benchmark["judged_on"].iloc[0]), int(benchmark["held_out"].iloc[0])
    reference = benchmark["score"].iloc[0]
    if judged == held_out:
        return f" on the {held_out:,} test {unit}s"
    torch = "" if reference != reference else f" (torch {reference:.1%})"  # NaN  # noqa: PLR0124
    return f"{torch} on {judged:,} of the {held_out:,} test {unit}s"


def training_section(card: WeightsCard, history: Table, curves: Figure) -> Section:
    """Show how the training went: as curves, or as figures where there is one epoch."""
    return Section(
        "Training",
        f"Started from: {card.started_from}. The weights kept are those of epoch {card.best_epoch}, the best on the "
        f"validation samples ({card.score_name} {card.val_score:.1%}).",
        [Chart(curves) if len(history) > 1 else _only_epoch(card, history)],
    )


def _only_epoch(card: WeightsCard, history: Table) -> Facts:
    names = {"val_score": f"validation {card.score_name}"}
    known = history.dropna(axis="columns")
    return Facts(
        [Fact(names.get(name, name.replace("_", " ")), known[name].iloc[0]) for name in map(str, known.columns)],
        caption="The only epoch",
    )


def new_images_section(table: Table, sheet: ImageArray) -> Section:
    """Show what the `predict` stage said last."""
    from eightgig.report.images import to_data_uri

    return Section(
        "Predictions",
        "The trained network on single images, as `--tags predict` does it; without a source, on held-out ones.",
        [
            Gallery([Image(to_data_uri(sheet, longest_side_px=1200))]),
            PageTable.from_frame(table.head(_MOST_IMAGES), formats={"probability": ".1%"}),
        ],
    )


def making_section(card: WeightsCard, parameters: Mapping[str, Record]) -> Section:
    """Show what it takes to do the same again."""
    import platform
    from datetime import UTC, datetime

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
