"""Ingest: from annotated images on disk to an HDF5 store with boxes, its splits, and a list of what is wrong."""

from pathlib import Path
from typing import TYPE_CHECKING

from eightgig.core.progress import Report
from eightgig.data.ingest.sources import RawImages, Source
from eightgig.stages.annotations import StoreContent, Table
from eightgig.tasks.detection.parameters import DetectionDataParameters
from eightgig.tasks.detection.task import RECORDS

if TYPE_CHECKING:
    from eightgig.tasks.detection.annotated import DetectionFolder


class AnnotatedImages:
    """Images with boxes."""

    records = RECORDS
    doing = "looking at images and labels"
    tables = stored = ("boxes",)

    def source(self, data: DetectionDataParameters) -> Source:
        """Return the source of annotated images that the parameters name."""
        from eightgig.tasks.detection.sources import open_detection_source

        return open_detection_source(data)

    def inspect(
        self, raw: RawImages, data: DetectionDataParameters, *, report: Report, journal: Path
    ) -> tuple[Table, Table, Table]:
        """Return the manifest; a row a box of its images; and a row for whatever is wrong or odd, with its line."""
        from eightgig.tasks.detection.manifest import build_detection_manifest

        return build_detection_manifest(_folder(raw, data), data, report, journal=journal)

    def require_usable(
        self, raw: RawImages, manifest: Table, rejects: Table, data: DetectionDataParameters, boxes: Table
    ) -> None:
        """Refuse a set of which too many images were refused, or with hardly a box. DataError says why."""
        from eightgig.tasks.detection.manifest import require_usable_detection

        require_usable_detection(Path(raw.root), manifest, boxes, rejects, data, _folder(raw, data).classes)

    def split(self, manifest: Table, data: DetectionDataParameters, boxes: Table) -> Table:
        """Return the splits, drawn by the rarest class of each image."""
        from eightgig.data.ingest.splits import make_detection_splits

        return make_detection_splits(
            manifest, boxes, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=data.seed
        )

    def content(self, raw: RawImages, chosen: Table, data: DetectionDataParameters, boxes: Table) -> StoreContent:
        """Return the images with their boxes."""
        from eightgig.data.store.content import StoreContent

        folder = _folder(raw, data)
        return StoreContent(chosen, folder.root, folder.classes, data, {"boxes": boxes})


def _folder(raw: RawImages, data: DetectionDataParameters) -> "DetectionFolder":
    from eightgig.tasks.detection.layouts import scan_detection_folder

    return scan_detection_folder(Path(raw.root), raw.source, data.annotations, data.label_lines)
