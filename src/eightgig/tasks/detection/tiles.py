"""Tiles: the boxes in an image of any size, within the budget."""

from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline

from eightgig.core.errors import ConfigurationError
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import ImageArray, Table
from eightgig.stages.task import Task, stage_node, stage_pipeline
from eightgig.stages.tiles import TilePlanner, answering, report_of, source_of
from eightgig.tasks.detection.parameters import DetectorTrainParameters
from eightgig.tasks.detection.predict import DetectorPredictParameters
from eightgig.tiles.parameters import TilesParameters
from eightgig.tiles.records import TilesReport
from eightgig.vram.parameters import PlanParameters

_SAMPLE_SCENES, _SAMPLE_SIDE_PX = (2, 4), 256
_STRIDE = 32
_COLUMNS = ("class_name", "score", "x1", "y1", "x2", "y2")


def create_pipeline(task: Task) -> Pipeline:
    """Return the node from `weights` to `tiles_report`, `tiles_boxes_table` and `tiles_sheet`."""
    inputs = {
        "weights": "weights",
        "train": "params:train",
        "plan": "params:plan",
        "tiles": "params:tiles",
        "predict": "params:predict",
        "tiles_folder": "tiles_folder",
    }
    outputs = ["tiles_report", "tiles_boxes_table", "tiles_sheet"]
    return stage_pipeline("tiles", [stage_node(detect_in_image, inputs, outputs, task=task)])


def detect_in_image(
    task: Task,
    weights: Weights,
    train: DetectorTrainParameters,
    plan: PlanParameters,
    tiles: TilesParameters,
    predict: DetectorPredictParameters,
    tiles_folder: Path,
) -> tuple[TilesReport, Table, ImageArray]:
    """Look for objects in an image of any size; boxes that tiles cut are merged.

    Returns:
        How it was cut and how fast it went; one row a box, in pixels of the image; the image with its boxes, made
        smaller.

    Raises:
        BudgetError: not even a small tile fits the budget.
        DataError: the source is no image, or too large.
    """
    from contextlib import ExitStack

    import numpy as np
    import pandas as pd

    from eightgig.tasks.detection.detections import suppress
    from eightgig.tasks.detection.figures import draw_detections
    from eightgig.tasks.detection.tiled_boxes import merge_boxes
    from eightgig.tiles.bands import Wanted
    from eightgig.tiles.overlay import Overlay
    from eightgig.tiles.records import StageTimer
    from eightgig.tiles.source import WatchedSource, open_source
    from eightgig.vram.runtime.measure import MemoryMeter

    path = source_of(tiles, tiles_folder, lambda: _sample(train.seed))
    clock, classes = StageTimer(), weights.card.classes
    _require_stride(tiles)
    with ExitStack() as stack:
        wanted = Wanted(tiles.bands, tiles.black_white)
        source = stack.enter_context(open_source(path, max_pixels=tiles.max_pixels, wanted=wanted))
        planned = TilePlanner(task, weights, train, plan, tiles).plan(source.height, source.width, _quarter)
        run = stack.enter_context(answering(task, weights, planned))
        overlay = Overlay(
            source.width, source.height, np.zeros((1, 3), np.uint8), longest_px=tiles.overlay_px, opacity=0.0
        )
        watched = WatchedSource(source, lambda rows: overlay.add(rows, np.zeros(rows.shape[:2], np.uint8)))

        def detect(images_N3HW: Any) -> Any:
            return suppress(
                run(images_N3HW), confidence=predict.confidence, iou=predict.iou, max_detections=predict.max_detections
            )

        with MemoryMeter("tiles", planned.memory.device) as meter:
            found = merge_boxes(
                watched,
                detect,
                grid=planned.grid,
                batch=planned.batch,
                iou=predict.iou,
                scratch=tiles_folder,
                clock=clock,
            )
    names = [classes[label] for label in found.labels_M]
    columns = zip(names, found.scores_M.round(4).tolist(), found.boxes_xyxy_M4.round(1).tolist(), strict=True)
    table = pd.DataFrame([(name, score, *box) for name, score, box in columns], columns=list(_COLUMNS))
    image_HWC = overlay.image()
    scale = image_HWC.shape[1] / planned.grid.width
    drawn_HWC = draw_detections(image_HWC, found._replace(boxes_xyxy_M4=found.boxes_xyxy_M4 * scale), classes)
    counts = {str(name): float(count) for name, count in table["class_name"].value_counts().items()}
    report = report_of(
        path,
        (planned.grid.width, planned.grid.height),
        planned,
        by_stage=clock.seconds,
        memory=meter.result(),
        found=counts,
        notes=source.notes,
    )
    return report, table, drawn_HWC


def _require_stride(tiles: TilesParameters) -> None:
    if tiles.tile is not None and tiles.tile % _STRIDE:
        raise ConfigurationError(
            f"tiles.tile={tiles.tile}: the detector halves its input five times, so wanted is a multiple of {_STRIDE}. "
            f"Take {-(-tiles.tile // _STRIDE) * _STRIDE}."
        )


def _quarter(tile: int) -> int:
    """Let tiles share a quarter of their side: objects up to that size are seen whole by one of them."""
    return max(8, tile // 32 * 8)


def _sample(seed: int) -> Any:
    """Draw ponds beside each other, so that there is more than one tile to see."""
    import numpy as np

    from eightgig.data.samples.scenes import render_scene

    rows, columns = _SAMPLE_SCENES
    side = (_SAMPLE_SIDE_PX, _SAMPLE_SIDE_PX)
    scenes = [render_scene(seed=seed + number, image_side_px=side)[0] for number in range(rows * columns)]
    return np.concatenate([np.concatenate(scenes[row * columns : (row + 1) * columns], 1) for row in range(rows)])
