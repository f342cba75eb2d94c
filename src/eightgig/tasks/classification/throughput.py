"""What the page of the image classifier shows beyond that of any classifier: its speed beside published ones."""

from collections.abc import Mapping
from typing import Any

from eightgig.report.page import Section, Table
from eightgig.tasks.classification.report import ClassificationResults

# Images a second in training at 224 px on synthetic data: lambdal/deeplearning-benchmark, results/3070 and others.
_PUBLISHED = {
    "RTX 3070, AMP, batch 120": 418.6,
    "RTX 3070, FP32, batch 64": 246.2,
    "RTX 2080 Ti, AMP": 529.0,
    "RTX 3080, AMP": 639.0,
    "RTX 3090, AMP": 796.0,
    "RTX 4090, AMP": 1301.0,
}


class ThroughputResults(ClassificationResults):
    """A classifier's part of the page, and images a second."""

    shown = {  # noqa: RUF012
        **ClassificationResults.shown,
        "epochs": "history",
        "trained": "weights",
        "plan_of_training": "memory_plan",
    }

    def results(self, shown: Mapping[str, Any]) -> list[Section]:
        """Show how good the network is, and how fast it was trained."""
        return [*super().results(shown), _throughput(shown)]


def _throughput(shown: Mapping[str, Any]) -> Section:
    card, plan = shown["trained"].card, shown["plan_of_training"]
    speed = shown["epochs"]["samples_per_second"].median()
    here = f"{card.model} at {card.image_size} px, {plan.precision}, batch {plan.micro_batch}, on {card.trained_on}"
    rows: list[tuple[str, float]] = [(f"this run: {here}", round(float(speed), 1))]
    is_comparable = plan.device == "cuda" and card.model.endswith("/resnet50") and card.image_size == 224
    if is_comparable:
        rows += [(f"published: ResNet-50, {what}", rate) for what, rate in _PUBLISHED.items()]
        note = "Published: synthetic data, so without reading images (lambdal/deeplearning-benchmark)."
    else:
        note = "ResNet-50 at 224 px trained on a GPU would stand beside published figures here."
    table = Table(("training", "images a second"), rows)
    return Section("Throughput", f"Median of the epochs, loading included. {note}", [table])
