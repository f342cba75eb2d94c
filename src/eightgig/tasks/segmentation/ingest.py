"""Ingest: from images with masks on disk to an HDF5 store, its splits, and a list of what is wrong."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Pipeline

from eightgig.core.progress import progress
from eightgig.data.ingest.sources import RawImages, Source
from eightgig.stages.annotations import Table
from eightgig.stages.findings import log_findings
from eightgig.stages.task import stage_node, stage_pipeline
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters

if TYPE_CHECKING:
    from eightgig.tasks.segmentation.layouts import MaskFolder


def create_pipeline() -> Pipeline:
    """Return the nodes from `params:data` to `store` and `splits`."""
    found = {"raw": "raw", "manifest": "manifest", "data": "params:data"}
    return stage_pipeline(
        "ingest",
        [
            stage_node(collect, {"data": "params:data"}, "raw"),
            stage_node(inspect, {"raw": "raw", "data": "params:data"}, ["manifest", "class_pixels", "rejects"]),
            stage_node(split, {**found, "class_pixels": "class_pixels", "rejects": "rejects"}, "splits"),
            stage_node(build_store, {**found, "splits": "splits"}, "store"),
        ],
    )


def collect(data: SegmentationDataParameters) -> Source:
    """Return the source of images with masks that the parameters name."""
    from eightgig.tasks.segmentation.sources import open_mask_source

    return open_mask_source(data)


def inspect(raw: RawImages, data: SegmentationDataParameters) -> tuple[Table, Table, Table]:
    """Look at every image and every mask once.

    Returns:
        The manifest of the images that are kept; a row a class of each of them with its pixels; a row for whatever is
        wrong, and what was done about it.
    """
    from eightgig.tasks.segmentation.manifest import build_mask_manifest

    with progress("looking at images and masks") as report:
        manifest, pixels, rejects = build_mask_manifest(_folder(raw, data), data, report)
    log_findings(rejects)
    return manifest, pixels, rejects


def split(
    raw: RawImages, manifest: Table, class_pixels: Table, rejects: Table, data: SegmentationDataParameters
) -> Table:
    """Divide the manifest into train, val and test; splits that the folder brings are kept.

    Raises:
        DataError: too many images were refused; the list of rejects is on disk by now.
    """
    from eightgig.data.ingest.stratified import make_detection_splits
    from eightgig.tasks.segmentation.manifest import require_usable_masks

    require_usable_masks(Path(raw.root), manifest, class_pixels, rejects, data)
    return make_detection_splits(
        manifest, class_pixels, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=data.seed
    )


def build_store(raw: RawImages, manifest: Table, splits: Table, data: SegmentationDataParameters) -> Any:
    """Return what the store's dataset writes: the images of the splits with their masks, streamed.

    It waits for the splits, so that a set which is refused replaces no store.
    """
    from eightgig.tasks.segmentation.store_content import MaskStoreContent

    return MaskStoreContent(manifest.iloc[splits["index"]], _folder(raw, data), data)


def _folder(raw: RawImages, data: SegmentationDataParameters) -> "MaskFolder":
    from eightgig.tasks.segmentation.layouts import scan_mask_folder

    return scan_mask_folder(Path(raw.root), raw.source, data.class_table if data.root else None)
