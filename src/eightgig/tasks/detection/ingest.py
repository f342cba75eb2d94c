"""Ingest: from annotated images on disk to an HDF5 store with boxes, its splits, and a list of what is wrong."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Pipeline

from eightgig.core.progress import progress
from eightgig.data.ingest.sources import RawImages, Source
from eightgig.stages.annotations import Table
from eightgig.stages.findings import log_findings
from eightgig.stages.task import stage_node, stage_pipeline
from eightgig.tasks.detection.parameters import DetectionDataParameters

if TYPE_CHECKING:
    from eightgig.tasks.detection.annotated import DetectionFolder


def create_pipeline() -> Pipeline:
    """Return the nodes from `params:data` to `store` and `splits`."""
    found = {"raw": "raw", "manifest": "manifest", "boxes": "boxes", "data": "params:data"}
    return stage_pipeline(
        "ingest",
        [
            stage_node(collect, {"data": "params:data"}, "raw"),
            stage_node(inspect, {"raw": "raw", "data": "params:data"}, ["manifest", "boxes", "rejects"]),
            stage_node(split, {**found, "rejects": "rejects"}, "splits"),
            stage_node(build_store, {**found, "splits": "splits"}, "store"),
        ],
    )


def collect(data: DetectionDataParameters) -> Source:
    """Return the source of annotated images that the parameters name."""
    from eightgig.tasks.detection.sources import open_detection_source

    return open_detection_source(data)


def inspect(raw: RawImages, data: DetectionDataParameters) -> tuple[Table, Table, Table]:
    """Look at every image and every label once.

    Returns:
        The manifest of the images that are kept; a row a box of them; a row for whatever is wrong or odd, with its
        file and line, and what was done about it.
    """
    from eightgig.tasks.detection.manifest import build_detection_manifest

    with progress("looking at images and labels") as report:
        manifest, boxes, rejects = build_detection_manifest(_folder(raw, data), data, report)
    log_findings(rejects)
    return manifest, boxes, rejects


def split(raw: RawImages, manifest: Table, boxes: Table, rejects: Table, data: DetectionDataParameters) -> Table:
    """Divide the manifest into train, val and test; splits that the folder brings are kept.

    Raises:
        DataError: too many images were refused, or there is no box; the list of rejects is on disk by now.
    """
    from eightgig.data.ingest.stratified import make_detection_splits
    from eightgig.tasks.detection.manifest import require_usable_detection

    require_usable_detection(Path(raw.root), manifest, boxes, rejects, data, _folder(raw, data).classes)
    return make_detection_splits(
        manifest, boxes, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=data.seed
    )


def build_store(raw: RawImages, manifest: Table, boxes: Table, splits: Table, data: DetectionDataParameters) -> Any:
    """Return what the store's dataset writes: the images of the splits with their boxes, streamed.

    It waits for the splits, so that a set which is refused replaces no store.
    """
    from eightgig.tasks.detection.store_content import DetectionStoreContent

    return DetectionStoreContent(manifest.iloc[splits["index"]], boxes, _folder(raw, data), data)


def _folder(raw: RawImages, data: DetectionDataParameters) -> "DetectionFolder":
    from eightgig.tasks.detection.layouts import scan_detection_folder

    return scan_detection_folder(Path(raw.root), raw.source, data.annotations, data.label_lines)
