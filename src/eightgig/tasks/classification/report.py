"""What the report shows of a classifier: its classes, its confusions, its errors."""

from collections.abc import Iterator, Mapping
from typing import Any

from eightgig.bench.records import ClassificationReport
from eightgig.data.ingest.sources import RawImages
from eightgig.report.page import Chart, Fact, Facts, Gallery, Image, Section
from eightgig.report.page import Table as PageTable
from eightgig.report.sections.training import new_images_section
from eightgig.stages.annotations import Figure, ImageStore, Table
from eightgig.stages.trained import indices_of
from eightgig.tasks.classification.task import RECORDS

_MOST_IMAGES = 24


class ClassificationResults:
    """A classifier's part of the page (see `eightgig.stages.report.Results`)."""

    records = RECORDS
    unit = "image"
    drawn_from = {"splits": "splits", "per_class": "per_class_table", "confusion": "confusion_table"}  # noqa: RUF012
    figures = ("confusion", "per_class", "balance")
    shown = {  # noqa: RUF012
        "metrics": "metrics",
        "predictions": "predictions_table",
        "new_images": "predict_table",
        "new_images_sheet": "predict_sheet",
    }

    def draw(self, splits: Table, per_class: Table, confusion: Table) -> tuple[Figure, Figure, Figure]:
        """Return the confusion matrix, precision and recall by class, and the images of each class."""
        from eightgig.report import figures

        by_split = splits.sort_values(
            "split", key=lambda names: names.map(["train", "val", "test"].index), kind="stable"
        )
        counts = by_split.groupby(["class_name", "split"], sort=False).size().rename("num_images").reset_index()
        return (
            figures.confusion(confusion.set_index(confusion.columns[0])),
            figures.per_class(per_class),
            figures.class_balance(counts.rename(columns={"class_name": "class"})),
        )

    def headline(self, shown: Mapping[str, Any]) -> Fact:
        """Return the accuracy."""
        metrics: ClassificationReport = shown["metrics"]
        return Fact(
            f"Accuracy on {metrics.num_images} held-out images",
            f"{metrics.accuracy:.1%}",
            f"top-5 {metrics.top5_accuracy:.1%}, macro F1 {metrics.macro_f1:.3f}",
            mark="good",
        )

    def data(
        self, raw: RawImages, rejects: Table, store: ImageStore, splits: Table, shown: Mapping[str, Any]
    ) -> Section:
        """Show what the network learned from."""
        return data_section(raw, rejects, store, splits, shown["balance_figure"])

    def results(self, shown: Mapping[str, Any]) -> list[Section]:
        """Show how good the network is."""
        return [results_section(shown["metrics"], shown["confusion_figure"], shown["per_class_figure"])]

    def images(self, store: ImageStore, shown: Mapping[str, Any]) -> list[Section]:
        """Show what it got wrong, and what it says of single images."""
        return [
            errors_section(store, shown["predictions"]),
            new_images_section(shown["new_images"], shown["new_images_sheet"]),
        ]


def data_section(raw: RawImages, rejects: Table, store: ImageStore, splits: Table, balance: Figure) -> Section:
    """Show what the network learned from."""
    rows = [
        (split, int((splits["split"] == split).sum()), splits.loc[splits["split"] == split, "class_name"].nunique())
        for split in ("train", "val", "test")
    ]
    refused = [
        PageTable.from_frame(
            rejects.head(20),
            caption=f"{len(rejects)} files were refused, or remarked on and kept (all are in rejects.csv)",
        )
    ]
    return Section(
        "What was trained on what",
        f"{raw.origin}: {len(store):,} images in {len(store.classes)} classes. Splits are stratified; copies of one "
        "image stay together, so none is in two splits."
        + ("" if len(rejects) else "\n\nNo file was refused or remarked on."),
        [
            PageTable(("split", "images", "classes"), rows),
            Chart(balance, "Images of each class"),
            Gallery(list(_samples(store, splits)), "From the training images"),
            *(refused if len(rejects) else []),
        ],
    )


def results_section(metrics: ClassificationReport, confusion: Figure, per_class: Figure) -> Section:
    """Show how good the network is on images that neither training nor the choice of the epoch saw."""
    facts = [
        Fact("accuracy", f"{metrics.accuracy:.2%}"),
        Fact("top-5 accuracy", f"{metrics.top5_accuracy:.2%}"),
        Fact("macro F1", f"{metrics.macro_f1:.4f}"),
        Fact("calibration error", f"{metrics.expected_calibration_error:.4f}"),
    ]
    return Section(
        "Results on held-out images",
        f"{metrics.num_images:,} test images, used for nothing else.",
        [Facts(facts), Chart(confusion, "Confusion matrix"), Chart(per_class, "By class")],
    )


def errors_section(store: ImageStore, predictions: Table) -> Section:
    """Show the wrong predictions, the surest ones first."""
    wrong = predictions[~predictions["correct"]].sort_values("probability", ascending=False)
    images = [
        Image.from_array(
            store.decode(int(row["index"])),
            f"{row['predicted']} ({row['probability']:.0%})",
            note=f"is {row['class_name']}: {row['path']}",
            mark="bad",
        )
        for _, row in wrong.head(_MOST_IMAGES).iterrows()
    ]
    shown = f"; the {len(images)} surest are shown" if len(wrong) > len(images) else ""
    prose = f"{len(wrong)} of {len(predictions)} test images{shown}." if len(wrong) else "None of the test images."
    return Section("Most confident errors", prose, [Gallery(images)] if images else [])


def _samples(store: ImageStore, splits: Table) -> Iterator[Image]:
    indices = indices_of(splits, "train")
    for index in indices[:: max(1, len(indices) // 12)][:12]:
        yield Image.from_array(store.decode(index), store.classes[int(store.labels[index])])
