"""Ingest: from images on disk to an HDF5 store, its splits, and a list of what was refused."""

import logging
from pathlib import Path

from kedro.pipeline import Pipeline

from eightgig.core.progress import progress
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.sources import RawImages, Source, open_source
from eightgig.stages.annotations import ClassFolders, StoreContent, Table
from eightgig.stages.findings import log_findings
from eightgig.stages.task import stage_node, stage_pipeline

logger = logging.getLogger(__name__)


def create_pipeline() -> Pipeline:
    """Return the nodes from `params:data` to `store` and `splits`."""
    return stage_pipeline(
        "ingest",
        [
            stage_node(collect, {"data": "params:data"}, "raw"),
            stage_node(
                inspect,
                {"raw": "raw", "data": "params:data", "ingest_journal": "ingest_journal"},
                ["manifest", "rejects"],
            ),
            stage_node(
                split, {"raw": "raw", "manifest": "manifest", "rejects": "rejects", "data": "params:data"}, "splits"
            ),
            stage_node(
                build_store, {"raw": "raw", "manifest": "manifest", "splits": "splits", "data": "params:data"}, "store"
            ),
        ],
    )


def collect(data: DataParameters) -> Source:
    """Return the source of images that the parameters name."""
    return open_source(data)


def inspect(raw: RawImages, data: DataParameters, ingest_journal: Path) -> tuple[Table, Table]:
    """Look at every file once; give the manifest of those that are kept, and the others with reasons.

    What was found is written into the folder `ingest_journal` as it goes: after a kill no file is opened twice.
    """
    from eightgig.data.ingest.manifest import build_manifest

    folders = _class_folders(raw, data)
    for note in folders.notes:
        logger.warning("%s", note)
    with progress("looking at images") as report:
        manifest, rejects = build_manifest(folders, data, report, journal=ingest_journal / "inspected.jsonl")
    log_findings(rejects)
    return manifest, rejects


def split(raw: RawImages, manifest: Table, rejects: Table, data: DataParameters) -> Table:
    """Divide the manifest into train, val and test.

    Raises:
        DataError: too many files were refused, or classes have too few images; the list of rejects is on disk by now.
    """
    from eightgig.data.ingest.manifest import require_usable
    from eightgig.data.ingest.splits import make_splits

    require_usable(Path(raw.root), manifest, rejects, data)
    return make_splits(manifest, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=data.seed)


def build_store(raw: RawImages, manifest: Table, splits: Table, data: DataParameters) -> StoreContent:
    """Return what the store's dataset writes: the images of the splits, streamed.

    It waits for the splits, so that a set which is refused replaces no store.
    """
    from eightgig.data.store.content import StoreContent

    return StoreContent(manifest.iloc[splits["index"]], _images_root(raw), data)


def _images_root(raw: RawImages) -> Path:
    if raw.source == "oxford102":
        from eightgig.data.ingest.oxford102 import FOLDER

        return Path(raw.root) / FOLDER
    return Path(raw.root)


def _class_folders(raw: RawImages, data: DataParameters) -> ClassFolders:
    if raw.source == "oxford102":
        from eightgig.data.ingest.oxford102 import read_oxford102

        return read_oxford102(Path(raw.root), allow_download=False)
    from eightgig.data.ingest.folders import scan_class_folders

    return scan_class_folders(Path(raw.root), min_images_per_class=data.min_images_per_class, layout=data.layout)
