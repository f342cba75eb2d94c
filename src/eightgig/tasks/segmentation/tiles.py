"""Tiles: the class of each pixel of an image of any size, within the budget."""

from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline

from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import ImageArray
from eightgig.stages.images import ImageTask
from eightgig.stages.task import stage_node, stage_pipeline
from eightgig.stages.tiles import TilePlanner, answering, report_of, source_of
from eightgig.tasks.segmentation.parameters import SegmenterTrainParameters
from eightgig.tiles.parameters import TilesParameters
from eightgig.tiles.records import TilesReport
from eightgig.vram.parameters import PlanParameters

_SAMPLE_WIDTH, _SAMPLE_HEIGHT, _SAMPLE_UNIT_PX = 1536, 320, 0.75


def create_pipeline(task: ImageTask) -> Pipeline:
    """Return the node from `weights` to `tiles_report` and `tiles_sheet`; files go to `tiles_folder`."""
    inputs = {
        "weights": "weights",
        "train": "params:train",
        "plan": "params:plan",
        "tiles": "params:tiles",
        "tiles_folder": "tiles_folder",
    }
    return stage_pipeline("tiles", [stage_node(segment_image, inputs, ["tiles_report", "tiles_sheet"], task=task)])


def segment_image(
    task: ImageTask,
    weights: Weights,
    train: SegmenterTrainParameters,
    plan: PlanParameters,
    tiles: TilesParameters,
    tiles_folder: Path,
) -> tuple[TilesReport, ImageArray]:
    """Find the class of each pixel of an image of any size.

    Writes `NAME_mask.png` (its values are positions in the classes) and, if asked for, `NAME_probabilities.h5`.

    Returns:
        How it was cut and how fast it went; the image under the colours of its classes, made smaller.

    Raises:
        BudgetError: not even a small tile fits the budget.
        DataError: the source is no image, or too large.
    """
    from contextlib import ExitStack

    from eightgig.data.ingest.class_table import colours_of
    from eightgig.stages.trained import restore
    from eightgig.tasks.segmentation.tiled.masks import blend_masks
    from eightgig.tasks.segmentation.tiled.mirrored import InnerRows, MirroredSource
    from eightgig.tasks.segmentation.tiled.probabilities import open_probabilities
    from eightgig.tiles.bands import Wanted
    from eightgig.tiles.overlay import Overlay
    from eightgig.tiles.png import open_mask_png
    from eightgig.tiles.receptive import receptive_radius
    from eightgig.tiles.records import StageTimer
    from eightgig.tiles.source import open_source
    from eightgig.vram.runtime.measure import MemoryMeter

    path = source_of(tiles, tiles_folder, lambda: _sample(train.seed))
    clock, classes = StageTimer(), weights.card.classes
    colours, stem = colours_of(classes), tiles_folder / path.stem
    with ExitStack() as stack:
        wanted = Wanted(tiles.bands, tiles.black_white)
        source = stack.enter_context(open_source(path, max_pixels=tiles.max_pixels, wanted=wanted))
        size = (source.width, source.height)
        radius = (
            receptive_radius(task.export_module(restore(task, weights)))
            if tiles.overlap is None
            else tiles.overlap // 2
        )
        mirrored = MirroredSource(source, radius)  # a network sees its own zeros at a border: here it does not
        planned = TilePlanner(task, weights, train, plan, tiles).plan(
            mirrored.height, mirrored.width, lambda tile: overlap_for(radius, tile)
        )
        png = stack.enter_context(open_mask_png(stem.with_name(f"{stem.name}_mask.png"), *size, colours))
        overlay = Overlay(*size, colours, longest_px=tiles.overlay_px, opacity=tiles.opacity)

        def take(rows_RWC: Any, labels_RW: Any) -> None:
            png.write(labels_RW)
            overlay.add(rows_RWC, labels_RW)

        inner = InnerRows(source.height, source.width, radius, take, num_classes=len(classes))
        shares = None
        if tiles.probabilities:
            file = open_probabilities(
                stem.with_name(f"{stem.name}_probabilities.h5"), classes, source.height, source.width
            )
            shares = inner.piece(stack.enter_context(file).write)
        run = stack.enter_context(answering(task, weights, planned))
        with MemoryMeter("tiles", planned.memory.device) as meter:
            blend_masks(
                mirrored,
                run,
                num_classes=len(classes),
                grid=planned.grid,
                batch=planned.batch,
                on_rows=inner.take,
                scratch=tiles_folder,
                on_probabilities=shares,
                clock=clock,
            )
    total = inner.pixels_K.sum()
    found = {classes[label]: float(inner.pixels_K[label] / total) for label in (-inner.pixels_K).argsort()}
    held = {name: share for name, share in found.items() if share}
    memory, notes = meter.result(), source.notes
    report = report_of(path, size, planned, by_stage=clock.seconds, memory=memory, found=held, notes=notes)
    return report, overlay.image()


def overlap_for(radius: int, tile: int) -> int:
    """Return an overlap of twice the radius in which a network looks, rounded up to 8, between 16 and half a tile."""
    return max(16, min(-(-2 * radius // 8) * 8, tile // 16 * 8))


def _sample(seed: int) -> Any:
    """Draw a long street, its things about as large as the network sees them in training."""
    from eightgig.data.samples.streets import render_street

    return render_street(seed=seed, width=_SAMPLE_WIDTH, height=_SAMPLE_HEIGHT, unit_px=_SAMPLE_UNIT_PX)[0]
