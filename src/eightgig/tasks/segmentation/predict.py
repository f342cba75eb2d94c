"""Predict: the classes of the pixels of new images, as masks, a table and a contact sheet."""

from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline

from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import ImageArray, ImageStore, Table
from eightgig.stages.images import ImageTask
from eightgig.stages.inference import running
from eightgig.stages.samples import REJECT_COLUMNS, PredictParameters, Rejects, require_one, samples_of
from eightgig.stages.task import Task, stage_node, stage_pipeline
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters
from eightgig.tasks.segmentation.predictions import PixelClasses
from eightgig.vram.parameters import PlanParameters

_TABLE_COLUMNS = ("file", "class_name", "share", "mask")
_TILE_SIDE_PX = 320


def create_pipeline(task: Task) -> Pipeline:
    """Return the node from `weights` to `predict_table`, `predict_rejects_table` and `predict_sheet`."""
    inputs = {
        "weights": "weights",
        "store": "store",
        "splits": "splits",
        "data": "params:data",
        "predict": "params:predict",
        "plan": "params:plan",
        "predict_masks": "predict_masks",
    }
    outputs = ["predict_table", "predict_rejects_table", "predict_sheet"]
    return stage_pipeline("predict", [stage_node(predict_masks_of, inputs, outputs, task=task)])


def predict_masks_of(
    task: ImageTask,
    weights: Weights,
    store: ImageStore,
    splits: Table,
    data: SegmentationDataParameters,
    predict: PredictParameters,
    plan: PlanParameters,
    predict_masks: Path,
) -> tuple[Table, Table, ImageArray]:
    """Find the class of each pixel of images, on the GPU where there is one; write the masks into `predict_masks`.

    Returns:
        One row for each class found in each image, with its share of the pixels and the mask's file; the files that
        could not be read, with reasons; a contact sheet.

    Raises:
        ConfigurationError: the source does not exist.
        DataError: nothing in the source is an image.
    """
    import pandas as pd

    from eightgig.report.images import Tile, contact_sheet
    from eightgig.stages.samples import thumbnail
    from eightgig.tasks.segmentation.figures import legend_tiles, overlaid, write_mask_png

    rejects: Rejects = []
    rows, tiles, held = list[tuple[object, ...]](), list[Tile](), set[int]()
    classes = weights.card.classes
    samples = samples_of(predict, store, splits, max_pixels=data.max_pixels, rejects=rejects)
    with running(task, weights, plan) as runner:
        classify = PixelClasses(task, weights.card, runner)
        for number, sample in enumerate(samples):
            labels_HW = classify(sample.image_HWC)
            mask = f"{number:05d}_{Path(sample.file).stem}.png"
            write_mask_png(predict_masks / mask, labels_HW, classes)
            shares = _shares(labels_HW)
            rows += [(sample.file, classes[label], share, mask) for label, share in shares]
            if len(tiles) < predict.sheet_images:
                held |= {label for label, _ in shares}
                caption = ", ".join(f"{classes[label]} {share:.0%}" for label, share in shares[:3])
                drawn_HWC = overlaid(sample.image_HWC, labels_HW, classes)
                tiles.append(Tile(thumbnail(drawn_HWC, _TILE_SIDE_PX), caption))
    require_one(len(rows), predict, rejects)
    sheet = contact_sheet([*tiles, *legend_tiles(sorted(held), classes)], columns=4, tile_side_px=_TILE_SIDE_PX)
    return pd.DataFrame(rows, columns=list(_TABLE_COLUMNS)), pd.DataFrame(rejects, columns=list(REJECT_COLUMNS)), sheet


def _shares(labels_HW: Any) -> list[tuple[int, float]]:
    """Return the classes that a mask holds with their shares of its pixels, the largest first."""
    import numpy as np

    labels, counts = np.unique(labels_HW, return_counts=True)
    shares = [(int(label), round(count / labels_HW.size, 4)) for label, count in zip(labels, counts, strict=True)]
    return sorted(shares, key=lambda each: -each[1])
