"""How right the trained segmenter is on the whole test split."""

from typing import Any

from eightgig.bench.parameters import BenchmarkParameters
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import ImageArray, ImageStore, Table
from eightgig.stages.images import ImageTask
from eightgig.stages.inference import held_out_batches, running
from eightgig.stages.inputs import feeds_of
from eightgig.tasks.segmentation.predictions import PixelClasses
from eightgig.tasks.segmentation.records import SegmentationReport
from eightgig.vram.parameters import PlanParameters

_SHOWN = 12


RESULTS = ["metrics", "per_class_table", "confusion_table", "images_table", "overlays_sheet"]
"""The datasets that `evaluate` gives."""


def evaluate(
    task: ImageTask,
    weights: Weights,
    store: ImageStore,
    splits: Table,
    benchmark: BenchmarkParameters,
    plan: PlanParameters,
) -> tuple[SegmentationReport, Table, Table, Table, ImageArray]:
    """Judge the trained network on the whole test split, at the size in which it sees images.

    Returns:
        The figures; a row a class; the confusion matrix in pixels (rows are true classes, named in the first column);
        a row an image with its share of right pixels and its mean IoU; some images beside their truth and what was
        found, the worst first.
    """
    import numpy as np
    import pandas as pd

    from eightgig.tasks.segmentation.metrics import confusion_counts, report_of

    evaluator = task.evaluator(weights.card.classes)
    num_classes, found = len(store.classes), list[Any]()
    confusion_KK = np.zeros((num_classes, num_classes), np.int64)
    with running(task, weights, plan) as runner:
        for batch in held_out_batches(task, weights, store, splits, batch_size=benchmark.batch_size):
            predictions = evaluator.predictions(runner.run(feeds_of(task.inputs(weights.card, batch))))
            for index, answer, truth_HW in zip(
                batch["indices"].tolist(), predictions, task.targets(batch), strict=True
            ):
                own_KK = confusion_counts([answer], [truth_HW], num_classes)
                confusion_KK += own_KK
                found.append(_row(store, index, own_KK))
        images = pd.DataFrame(found).sort_values("miou", ignore_index=True)
        sheet = _sheet(PixelClasses(task, weights.card, runner), weights, store, images)
    report = report_of(confusion_KK, store.classes, len(found))
    per_class = pd.DataFrame([row.model_dump() for row in report.per_class]).rename(columns={"name": "class"})
    names = pd.Index(store.classes, name="actual"), pd.Index(store.classes, name="predicted")
    confusion = pd.DataFrame(confusion_KK, index=names[0], columns=names[1]).reset_index()
    return report, per_class, confusion, images, sheet


def _row(store: ImageStore, index: int, confusion_KK: Any) -> dict[str, object]:
    import torch

    from eightgig.tasks.segmentation.objective import mean_iou, pixel_accuracy

    counts = torch.from_numpy(confusion_KK)
    figures = {"pixel_accuracy": round(pixel_accuracy(counts), 5), "miou": round(mean_iou(counts), 5)}
    return {"index": index, "path": store.paths[index], **figures}


def _sheet(classify: PixelClasses, weights: Weights, store: ImageStore, images: Table) -> ImageArray:
    """Show the worst images, then some of all others, each beside its truth and what was found."""
    from eightgig.report.images import contact_sheet
    from eightgig.tasks.segmentation.figures import triptych

    worst = list(range(min(_SHOWN // 2, len(images))))
    others = range(len(worst), len(images), max(1, (len(images) - len(worst)) // (_SHOWN - len(worst))))
    tiles = []
    for place in [*worst, *others][:_SHOWN]:
        row = images.iloc[place]
        image_HWC, truth_HW = store.decode(int(row["index"])), store.mask(int(row["index"]))
        caption = f"mIoU {row['miou']:.2f}, {row['pixel_accuracy']:.0%} of the pixels"
        tiles += triptych(image_HWC, truth_HW, classify(image_HWC), weights.card.classes, caption)
    return contact_sheet(tiles, columns=6, tile_side_px=256)
