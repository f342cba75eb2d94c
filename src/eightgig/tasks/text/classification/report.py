"""What the report shows of the sentiment classifier: its texts, how sure it may be believed, the worst mistakes."""

from collections.abc import Mapping
from typing import Any

from eightgig.bench.records import ClassificationReport
from eightgig.report.page import Chart, Fact, Facts, Section
from eightgig.report.page import Table as PageTable
from eightgig.stages.annotations import Figure, Table, TokenStore
from eightgig.stages.trained import indices_of
from eightgig.tasks.text.classification.task import RECORDS
from eightgig.tasks.text.sources import RawTexts

_MOST_TEXTS = 12
_SHOWN_LETTERS = 600


class SentimentResults:
    """The classifier's part of the page (see `eightgig.stages.report.Results`)."""

    records = RECORDS
    unit = "text"
    drawn_from = {  # noqa: RUF012
        "store": "store",
        "confusion": "confusion_table",
        "predictions": "predictions_table",
    }
    figures = ("confusion", "calibration", "lengths")
    shown = {  # noqa: RUF012
        "metrics": "metrics",
        "per_class": "per_class_table",
        "predictions": "predictions_table",
        "new_texts": "predict_table",
    }

    def draw(self, store: TokenStore, confusion: Table, predictions: Table) -> tuple[Figure, Figure, Figure]:
        """Return the confusion matrix, the reliability diagram, and how long the texts are."""
        from eightgig.report import figures
        from eightgig.tasks.text import figures as texts

        return (
            figures.confusion(confusion.set_index(confusion.columns[0])),
            texts.reliability(predictions),
            texts.lengths(store.lengths, store.max_tokens),
        )

    def headline(self, shown: Mapping[str, Any]) -> Fact:
        """Return the accuracy."""
        metrics: ClassificationReport = shown["metrics"]
        note = f"macro F1 {metrics.macro_f1:.3f}, calibration error {metrics.expected_calibration_error:.3f}"
        return Fact(f"Accuracy on {metrics.num_images:,} held-out texts", f"{metrics.accuracy:.1%}", note, mark="good")

    def data(
        self, raw: RawTexts, rejects: Table, store: TokenStore, splits: Table, shown: Mapping[str, Any]
    ) -> Section:
        """Show what the network learned from, and what was refused."""
        rows = [(split, len(indices_of(splits, split))) for split in ("train", "val", "test")]
        refused = [
            PageTable.from_frame(rejects.head(20), caption=f"{len(rejects)} texts were refused (all: rejects.csv)")
        ]
        share = float((store.lengths >= store.max_tokens).mean())
        return Section(
            "What was trained on what",
            f"{raw.origin}: {len(store):,} texts in {len(store.classes)} classes; {share:.0%} of them reach the "
            f"{store.max_tokens} tokens at which longer ones are cut. The same text is in one split alone."
            + ("" if len(rejects) else "\n\nNo text was refused."),
            [
                PageTable(("split", "texts"), rows),
                Chart(shown["lengths_figure"], "Tokens of the texts"),
                *(refused if len(rejects) else []),
            ],
        )

    def results(self, shown: Mapping[str, Any]) -> list[Section]:
        """Show how good the network is, and how far its probabilities may be believed."""
        metrics: ClassificationReport = shown["metrics"]
        facts = [
            Fact("accuracy", f"{metrics.accuracy:.2%}"),
            Fact("macro F1", f"{metrics.macro_f1:.4f}"),
            Fact("loss", f"{metrics.loss:.4f}"),
            Fact("calibration error (ECE)", f"{metrics.expected_calibration_error:.4f}"),
        ]
        return [
            Section(
                "Results on held-out texts",
                f"{metrics.num_images:,} test texts, used for nothing else.",
                [
                    Facts(facts),
                    Chart(shown["confusion_figure"], "Confusion matrix"),
                    Chart(shown["calibration_figure"], "Reliability diagram"),
                    PageTable.from_frame(shown["per_class"].rename(columns={"images": "texts"})),
                ],
            )
        ]

    def images(self, store: TokenStore, shown: Mapping[str, Any]) -> list[Section]:
        """Show the surest mistakes, and what it says of single texts."""
        from eightgig.tasks.text.figures import shortened

        predictions = shown["predictions"]
        wrong = predictions[~predictions["correct"]].sort_values("probability", ascending=False).head(_MOST_TEXTS)
        worst = wrong.assign(text=[shortened(store.text(int(index)), _SHOWN_LETTERS) for index in wrong["index"]])
        formats = {"probability": ".1%"}
        return [
            Section(
                "Most confident errors",
                f"{int((~predictions['correct']).sum())} of {len(predictions)} test texts; the surest are shown.",
                [PageTable.from_frame(worst[["class_name", "predicted", "probability", "text"]], formats=formats)],
            ),
            Section(
                "Predictions",
                "The trained network on single texts, as `--tags predict` does it; without a text, on held-out ones.",
                [PageTable.from_frame(shown["new_texts"].head(_MOST_TEXTS), formats=formats)],
            ),
        ]
