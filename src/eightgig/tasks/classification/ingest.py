"""Ingest: from images in class folders to an HDF5 store, its splits, and a list of what was refused."""

import logging
from pathlib import Path

from eightgig.core.progress import Report
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.sources import RawImages, Source, open_source
from eightgig.stages.annotations import ClassFolders, StoreContent, Table
from eightgig.stages.ingest import PlainImages
from eightgig.tasks.classification.task import RECORDS

logger = logging.getLogger(__name__)


class ClassifiedImages(PlainImages):
    """Images in a folder a class, or a public set of such."""

    records = RECORDS

    def source(self, data: DataParameters) -> Source:
        """Return the source of images that the parameters name."""
        return open_source(data)

    def inspect(self, raw: RawImages, data: DataParameters, *, report: Report, journal: Path) -> tuple[Table, Table]:
        """Return the manifest and the rejects; say how the folders were read."""
        from eightgig.data.ingest.manifest import build_manifest

        folders = _class_folders(raw, data)
        for note in folders.notes:
            logger.warning("%s", note)
        return build_manifest(folders, data, report, journal=journal)

    def require_usable(self, raw: RawImages, manifest: Table, rejects: Table, data: DataParameters) -> None:
        """Refuse a set of which too many files were refused, or with too few images of a class. DataError says why."""
        from eightgig.data.ingest.manifest import require_usable

        require_usable(Path(raw.root), manifest, rejects, data)

    def content(self, raw: RawImages, chosen: Table, data: DataParameters) -> StoreContent:
        """Return the images, as they are or decoded."""
        from eightgig.data.ingest.manifest import class_names
        from eightgig.data.store.content import StoreContent

        pixels = {"tier": data.tier, "decoded_side": data.decoded_side}
        return StoreContent(chosen, _images_root(raw), class_names(chosen), data, pixels)


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
