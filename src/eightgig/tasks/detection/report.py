"""What the report shows of the detector: its boxes, its curves, what it missed, and how fast the video went."""

from collections.abc import Iterator, Mapping
from typing import Any

from eightgig.data.ingest.sources import RawImages
from eightgig.report.page import Chart, Fact, Facts, Gallery, Image, Section
from eightgig.report.page import Table as PageTable
from eightgig.report.sections.training import new_images_section
from eightgig.stages.annotations import Figure, ImageArray, ImageStore, Table
from eightgig.stages.tiles import tiles_section
from eightgig.stages.trained import indices_of
from eightgig.tasks.detection.records import DetectionReport
from eightgig.tasks.detection.task import RECORDS
from eightgig.tasks.detection.video.records import VideoReport

_MOST_IMAGES = 24
_MOST_REJECTS = 30


class DetectionResults:
    """The detector's part of the page (see `eightgig.stages.report.Results`)."""

    records = RECORDS
    unit = "image"
    drawn_from = {  # noqa: RUF012
        "splits": "splits",
        "boxes": "boxes",
        "per_class": "per_class_table",
        "confusion": "confusion_table",
        "curves": "pr_curve_table",
        "benchmark": "benchmark_table",
        "video_report": "video_report",
    }
    figures = ("pr_curves", "per_class", "confusion", "balance", "fps", "milliseconds")
    shown = {  # noqa: RUF012
        "metrics": "metrics",
        "detections": "detections_table",
        "new_images": "predict_table",
        "new_images_sheet": "predict_sheet",
        "video_report": "video_report",
        "video_sheet": "video_sheet",
        "tiles_report": "tiles_report",
        "tiles_sheet": "tiles_sheet",
    }

    def draw(
        self,
        splits: Table,
        boxes: Table,
        per_class: Table,
        confusion: Table,
        curves: Table,
        benchmark: Table,
        video_report: VideoReport,
    ) -> tuple[Figure, ...]:
        """Return the figures: precision over recall, average precision by class, confusion matrix, and speeds."""
        from eightgig.report import figures
        from eightgig.tasks.detection import figures as detections

        of_split = boxes.merge(splits[["index", "split"]], on="index")
        of_split = of_split.sort_values(
            "split", key=lambda names: names.map(["train", "val", "test"].index), kind="stable"
        )
        counts = of_split.groupby(["class_name", "split"], sort=False).size().rename("num_images").reset_index()
        stages = {name: time.mean_ms for name, time in video_report.stages.items()}
        return (
            detections.pr_curves(curves),
            detections.per_class_ap(per_class),
            figures.confusion(confusion.set_index(confusion.columns[0])),
            figures.class_balance(counts.rename(columns={"class_name": "class"}), of="boxes"),
            detections.frames_per_second(benchmark),
            detections.milliseconds(stages),
        )

    def headline(self, shown: Mapping[str, Any]) -> Fact:
        """Return the mean average precision."""
        metrics: DetectionReport = shown["metrics"]
        note = f"mAP50-95 {metrics.map50_95:.1%}; {metrics.num_boxes} boxes"
        return Fact(f"mAP50 on {metrics.num_images} held-out images", f"{metrics.map50:.1%}", note, mark="good")

    def data(
        self, raw: RawImages, rejects: Table, store: ImageStore, splits: Table, shown: Mapping[str, Any]
    ) -> Section:
        """Show what the network learned from, and what was wrong with it."""
        rows = [(split, len(places), _num_boxes(store, places)) for split, places in _by_split(splits)]
        refused = [
            PageTable.from_frame(
                rejects.head(_MOST_REJECTS), caption=f"{len(rejects)} things were wrong or odd (all: rejects.csv)"
            )
        ]
        return Section(
            "What was trained on what",
            f"{raw.origin}: {len(store):,} images with boxes of {len(store.classes)} classes. Copies of one image "
            "stay together, so none is in two splits." + ("" if len(rejects) else "\n\nNothing was wrong."),
            [
                PageTable(("split", "images", "boxes"), rows),
                Chart(shown["balance_figure"], "Boxes of each class"),
                Gallery(list(_samples(store, splits)), "From the training images, with their boxes"),
                *(refused if len(rejects) else []),
            ],
        )

    def results(self, shown: Mapping[str, Any]) -> list[Section]:
        """Show how good the network is."""
        metrics: DetectionReport = shown["metrics"]
        facts = [
            Fact("mAP50", f"{metrics.map50:.2%}"),
            Fact("mAP50-95", f"{metrics.map50_95:.2%}"),
            Fact("precision", f"{metrics.precision:.1%}"),
            Fact("recall", f"{metrics.recall:.1%}"),
            Fact("at confidence", f"{metrics.confidence:.2f}"),
        ]
        return [
            Section(
                "Results on held-out images",
                f"{metrics.num_images:,} test images with {metrics.num_boxes:,} boxes, used for nothing else. "
                "Precision and recall are means over the classes, at the confidence where their F1 is highest.",
                [
                    Facts(facts),
                    Chart(shown["pr_curves_figure"], "Precision over recall, at IoU 0.5"),
                    Chart(shown["per_class_figure"], "Average precision by class"),
                    Chart(shown["confusion_figure"], "Confusion matrix"),
                ],
            )
        ]

    def images(self, store: ImageStore, shown: Mapping[str, Any]) -> list[Section]:
        """Show hits, misses and false alarms, single images, and the video."""
        return [
            _video_section(shown["video_report"], shown["video_sheet"], shown),
            _found_section(store, shown["detections"], shown["metrics"].confidence),
            new_images_section(shown["new_images"], shown["new_images_sheet"]),
            tiles_section(
                shown["tiles_report"],
                shown["tiles_sheet"],
                unit="boxes",
                more="Boxes that tiles cut are merged; all are in tiles_boxes.csv.",
            ),
        ]


def _video_section(video: VideoReport, sheet: ImageArray, shown: Mapping[str, Any]) -> Section:
    """Show how fast frames went through, and where the time went."""
    from eightgig.report.images import to_data_uri

    facts = [
        Fact("frames a second, end to end", f"{video.fps_end_to_end:.1f}"),
        Fact("runner", f"{video.runner} on {video.device}"),
        Fact("frames", f"{video.frames_written:,}", f"{video.frames_dropped} dropped"),
        Fact("size", f"{video.width} x {video.height}", f"the network sees {video.image_size} px"),
    ]
    together = "at the same time, each on another frame" if video.overlapped else "one after another"
    return Section(
        "Video",
        f"{video.source}: decoded, prepared, run, suppressed, drawn and written {together}. The drawn video and the "
        "track of detections are in `video/` beside the tables of results."
        + "".join(f"\n\n{note}" for note in video.notes),
        [
            Facts(facts),
            Chart(shown["milliseconds_figure"], "Where the milliseconds of a frame go"),
            Chart(shown["fps_figure"], "Frames a second by variant: the network alone, and from a stored image"),
            Gallery([Image(to_data_uri(sheet, longest_side_px=1400))], "Frames as they were drawn"),
        ],
    )


def _found_section(store: ImageStore, detections: Table, confidence: float) -> Section:
    """Show the images with most mistakes first, hits, misses and false alarms told apart."""
    counts = detections["kind"].value_counts()
    hits, misses, alarms = (int(counts.get(kind, 0)) for kind in ("hit", "miss", "false alarm"))
    wrong = detections.assign(wrong=detections["kind"] != "hit").groupby("index")["wrong"].sum()
    chosen = wrong.sort_values(ascending=False, kind="stable").index[:_MOST_IMAGES]
    return Section(
        "What it found and what it missed",
        f"At confidence {confidence:.2f}: {hits} hits (green), {misses} misses (orange), {alarms} false alarms (red). "
        "The images with most mistakes come first.",
        [Gallery([_found_image(store, detections[detections["index"] == index]) for index in chosen])],
    )


def _found_image(store: ImageStore, rows: Table) -> Image:
    from eightgig.tasks.detection.figures import draw_found

    index = int(rows["index"].iloc[0])
    counts = rows["kind"].value_counts()
    note = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    is_right = set(counts.index) == {"hit"}
    drawn_HWC = draw_found(store.decode(index), rows)
    return Image.from_array(drawn_HWC, note, note=store.paths[index], mark="good" if is_right else "bad")


def _samples(store: ImageStore, splits: Table) -> Iterator[Image]:
    from eightgig.tasks.detection.figures import draw_truth

    indices = indices_of(splits, "train")
    for index in indices[:: max(1, len(indices) // 12)][:12]:
        boxes = store.boxes(index)
        yield Image.from_array(draw_truth(store.decode(index), boxes, store.classes), f"{len(boxes.labels_M)} boxes")


def _by_split(splits: Table) -> Iterator[tuple[str, list[int]]]:
    for split in ("train", "val", "test"):
        yield split, indices_of(splits, split)


def _num_boxes(store: ImageStore, indices: list[int]) -> int:
    return sum(len(store.boxes(index).labels_M) for index in indices)
