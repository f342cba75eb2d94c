"""What the report shows of the segmenter: its classes, its masks beside the truth, and a large image in tiles."""

from collections.abc import Iterator, Mapping
from typing import Any

from eightgig.data.ingest.sources import RawImages
from eightgig.report.page import Chart, Fact, Facts, Gallery, Image, Section
from eightgig.report.page import Table as PageTable
from eightgig.report.sections.training import new_images_section
from eightgig.stages.annotations import Figure, ImageStore, Table
from eightgig.stages.tiles import tiles_section
from eightgig.stages.trained import indices_of
from eightgig.tasks.segmentation.records import SegmentationReport
from eightgig.tasks.segmentation.task import RECORDS

_MOST_REJECTS = 30


class SegmentationResults:
    """The segmenter's part of the page (see `eightgig.stages.report.Results`)."""

    records = RECORDS
    unit = "image"
    drawn_from = {  # noqa: RUF012
        "splits": "splits",
        "class_pixels": "class_pixels",
        "per_class": "per_class_table",
        "confusion": "confusion_table",
    }
    figures = ("per_class", "confusion", "balance")
    shown = {  # noqa: RUF012
        "metrics": "metrics",
        "overlays": "overlays_sheet",
        "new_images": "predict_table",
        "new_images_sheet": "predict_sheet",
        "tiles_report": "tiles_report",
        "tiles_sheet": "tiles_sheet",
    }

    def draw(
        self, splits: Table, class_pixels: Table, per_class: Table, confusion: Table
    ) -> tuple[Figure, Figure, Figure]:
        """Return the IoU of each class, the confusion matrix, and the pixels of each class."""
        from eightgig.report import figures
        from eightgig.tasks.segmentation import figures as segmentation

        of_split = class_pixels.merge(splits[["index", "split"]], on="index")
        counts = confusion.set_index(confusion.columns[0])
        return (
            segmentation.iou_by_class(per_class),
            figures.confusion(segmentation.as_percent(counts)),
            segmentation.pixels_by_class(of_split),
        )

    def headline(self, shown: Mapping[str, Any]) -> Fact:
        """Return the mean intersection over union."""
        metrics: SegmentationReport = shown["metrics"]
        note = f"{metrics.pixel_accuracy:.1%} of the pixels are right"
        return Fact(f"mIoU on {metrics.num_images} held-out images", f"{metrics.miou:.1%}", note, mark="good")

    def data(
        self, raw: RawImages, rejects: Table, store: ImageStore, splits: Table, shown: Mapping[str, Any]
    ) -> Section:
        """Show what the network learned from, and what was wrong with it."""
        from eightgig.report.images import to_data_uri
        from eightgig.tasks.segmentation.figures import legend

        rows = [(split, len(indices_of(splits, split))) for split in ("train", "val", "test")]
        refused = [
            PageTable.from_frame(
                rejects.head(_MOST_REJECTS), caption=f"{len(rejects)} things were wrong or odd (all: rejects.csv)"
            )
        ]
        return Section(
            "What was trained on what",
            f"{raw.origin}: {len(store):,} images with masks of {len(store.classes)} classes. Copies of one image "
            "stay together, so none is in two splits." + ("" if len(rejects) else "\n\nNothing was wrong."),
            [
                PageTable(("split", "images"), rows),
                Chart(shown["balance_figure"], "Pixels of each class"),
                Gallery(list(_samples(store, splits)), "From the training images, under their masks"),
                Gallery([Image(to_data_uri(legend(store.classes)))], "Legend"),
                *(refused if len(rejects) else []),
            ],
        )

    def results(self, shown: Mapping[str, Any]) -> list[Section]:
        """Show how good the network is."""
        metrics: SegmentationReport = shown["metrics"]
        facts = [
            Fact("mIoU", f"{metrics.miou:.2%}"),
            Fact("pixel accuracy", f"{metrics.pixel_accuracy:.2%}"),
            Fact("mean class accuracy", f"{metrics.mean_accuracy:.2%}"),
            Fact("Dice", f"{metrics.dice:.2%}"),
        ]
        absent = f" Not in them: {', '.join(metrics.absent_classes)}." if metrics.absent_classes else ""
        return [
            Section(
                "Results on held-out images",
                f"{metrics.num_images:,} test images with {metrics.num_pixels:,} pixels that are not void, used for "
                "nothing else, at the size in which the network sees them. All pixels make one confusion matrix; means "
                f"are over the classes that these images hold.{absent}",
                [
                    Facts(facts),
                    Chart(shown["per_class_figure"], "By class"),
                    Chart(shown["confusion_figure"], "Confusion matrix, in hundredths of the true class"),
                ],
            )
        ]

    def images(self, store: ImageStore, shown: Mapping[str, Any]) -> list[Section]:
        """Show masks beside the truth, single images, and what tiles made of a large one."""
        from eightgig.report.images import to_data_uri
        from eightgig.tasks.segmentation.figures import legend

        return [
            Section(
                "What it found, beside the truth",
                "Six of the worst test images, then some of all others; colours as in the legend.",
                [
                    Gallery([Image(to_data_uri(shown["overlays"], longest_side_px=1600))]),
                    Gallery([Image(to_data_uri(legend(store.classes)))], "Legend"),
                ],
            ),
            new_images_section(shown["new_images"], shown["new_images_sheet"]),
            tiles_section(
                shown["tiles_report"],
                shown["tiles_sheet"],
                unit="share",
                more="The mask of the whole image is in `tiles/` beside the tables of results.",
            ),
        ]


def _samples(store: ImageStore, splits: Table) -> Iterator[Image]:
    from eightgig.tasks.segmentation.figures import overlaid

    indices = indices_of(splits, "train")
    for index in indices[:: max(1, len(indices) // 8)][:8]:
        yield Image.from_array(overlaid(store.decode(index), store.mask(index), store.classes), store.paths[index])
