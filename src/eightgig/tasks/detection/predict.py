"""Predict: the boxes in new images, as a table and a contact sheet."""

from typing import TYPE_CHECKING, Any, ClassVar

from kedro.pipeline import Pipeline
from pydantic import Field

from eightgig.datasets.weights import Weights
from eightgig.models.cards import ImageCard
from eightgig.stages.annotations import ImageArray, ImageStore, Table
from eightgig.stages.images import ImageTask
from eightgig.stages.inference import running
from eightgig.stages.inputs import feeds_of
from eightgig.stages.samples import (
    REJECT_COLUMNS,
    PredictParameters,
    Rejects,
    Sample,
    require_one,
    samples_of,
    thumbnail,
)
from eightgig.stages.task import Task, stage_node, stage_pipeline
from eightgig.tasks.detection.parameters import DetectionDataParameters
from eightgig.vram.parameters import PlanParameters

if TYPE_CHECKING:
    from eightgig.export.runners import Runner

_TABLE_COLUMNS = ("file", "class_name", "score", "x1", "y1", "x2", "y2")
_TILE_SIDE_PX = 320


class DetectorPredictParameters(PredictParameters):
    """Which images to look at, and which boxes to keep.

    Attributes:
        confidence: smallest score.
        iou: of two boxes of one class that overlap more, the lower score is dropped.
        max_detections: boxes an image.
    """

    renamed: ClassVar = {"most": "max_detections", "sheet_pictures": "sheet_images"}

    confidence: float = Field(default=0.25, ge=0, le=1)
    iou: float = Field(default=0.45, ge=0, le=1)
    max_detections: int = Field(default=300, ge=1)


def create_pipeline(task: Task) -> Pipeline:
    """Return the node from `weights` to `predict_table`, `predict_rejects_table` and `predict_sheet`."""
    inputs = {
        "weights": "weights",
        "store": "store",
        "splits": "splits",
        "data": "params:data",
        "predict": "params:predict",
        "plan": "params:plan",
    }
    outputs = ["predict_table", "predict_rejects_table", "predict_sheet"]
    return stage_pipeline("predict", [stage_node(predict_boxes, inputs, outputs, task=task)])


def predict_boxes(
    task: ImageTask,
    weights: Weights,
    store: ImageStore,
    splits: Table,
    data: DetectionDataParameters,
    predict: DetectorPredictParameters,
    plan: PlanParameters,
) -> tuple[Table, Table, ImageArray]:
    """Look for objects in images with the trained network, on the GPU where there is one.

    Returns:
        One row a box, in pixels of the upright image (an image without any has one row without a box); the files
        that could not be read, with reasons; a contact sheet.

    Raises:
        ConfigurationError: the source does not exist.
        DataError: nothing in the source is an image.
    """
    import pandas as pd

    from eightgig.data.images.streaming import windows
    from eightgig.report.images import Tile, contact_sheet
    from eightgig.tasks.detection.figures import draw_detections

    rejects: Rejects = []
    rows, tiles = list[tuple[object, ...]](), list[Tile]()
    samples = samples_of(predict, store, splits, max_pixels=data.max_pixels, rejects=rejects)
    with running(task, weights, plan) as runner:
        detect = _Detector(task, weights.card, predict, runner)
        for batch in windows(samples, predict.batch_size):
            for sample, found in zip(batch, detect(batch), strict=True):
                names = [weights.card.classes[label] for label in found.labels_M]
                rows += _rows(sample.file, names, found)
                if len(tiles) < predict.sheet_images:
                    drawn_HWC = draw_detections(sample.image_HWC, found, weights.card.classes)
                    tiles.append(Tile(thumbnail(drawn_HWC, _TILE_SIDE_PX), _summary(names)))
    require_one(len(rows), predict, rejects)
    sheet = contact_sheet(tiles, columns=4, tile_side_px=_TILE_SIDE_PX)
    return pd.DataFrame(rows, columns=list(_TABLE_COLUMNS)), pd.DataFrame(rejects, columns=list(REJECT_COLUMNS)), sheet


def _rows(file: str, names: list[str], found: Any) -> list[tuple[object, ...]]:
    """Return a row a box, or one without a box where nothing was found."""
    columns = zip(names, found.scores_M.round(4).tolist(), found.boxes_xyxy_M4.round(1).tolist(), strict=True)
    boxes = [(file, name, score, *box) for name, score, box in columns]
    return [*boxes] or [(file, *[None] * (len(_TABLE_COLUMNS) - 1))]


class _Detector:
    """The trained network on whole images of any size; gives their `Detections` in pixels of the image."""

    def __init__(self, task: ImageTask, card: ImageCard, predict: DetectorPredictParameters, runner: "Runner") -> None:
        self._task, self._card, self._predict, self._runner = task, card, predict, runner

    def __call__(self, samples: list[Sample]) -> list[Any]:
        import torch

        from eightgig.data.images.letterbox import placement_of
        from eightgig.tasks.detection.detections import suppress
        from eightgig.tasks.detection.transforms import unletterboxed

        size, chosen = self._card.image_size, self._predict
        images = torch.stack([self._task.eval_image(sample.image_HWC, image_size=size) for sample in samples])
        (predictions_NPK,) = self._runner.run(feeds_of(self._task.inputs(self._card, {"images": images}))).values()
        found = suppress(
            predictions_NPK, confidence=chosen.confidence, iou=chosen.iou, max_detections=chosen.max_detections
        )
        moved = []
        for sample, one in zip(samples, found, strict=True):
            height, width = sample.image_HWC.shape[:2]
            placement = placement_of(height, width, size)
            boxes = unletterboxed(one.boxes_xyxy_M4, placement, height, width)
            moved.append(one._replace(boxes_xyxy_M4=boxes))
        return moved


def _summary(names: list[str]) -> str:
    counts = {name: names.count(name) for name in sorted(set(names))}
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing found"
