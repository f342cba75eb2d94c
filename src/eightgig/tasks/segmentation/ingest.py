"""Ingest: from images with masks on disk to an HDF5 store, its splits, and a list of what is wrong."""

from pathlib import Path
from typing import TYPE_CHECKING

from eightgig.core.progress import Report
from eightgig.data.ingest.sources import RawImages, Source
from eightgig.stages.annotations import StoreContent, Table
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters
from eightgig.tasks.segmentation.task import RECORDS

if TYPE_CHECKING:
    from eightgig.tasks.segmentation.layouts import MaskFolder


class MaskedImages:
    """Images with a mask each."""

    records = RECORDS
    doing = "looking at images and masks"
    tables, stored = ("class_pixels",), ()

    def source(self, data: SegmentationDataParameters) -> Source:
        """Return the source of images with masks that the parameters name."""
        from eightgig.tasks.segmentation.sources import open_mask_source

        return open_mask_source(data)

    def inspect(
        self, raw: RawImages, data: SegmentationDataParameters, *, report: Report, journal: Path
    ) -> tuple[Table, Table, Table]:
        """Return the manifest; a row a class of each of its images with its pixels; and a row for whatever is wrong."""
        from eightgig.tasks.segmentation.manifest import build_mask_manifest

        return build_mask_manifest(_folder(raw, data), data, report, journal=journal)

    def require_usable(
        self, raw: RawImages, manifest: Table, rejects: Table, data: SegmentationDataParameters, class_pixels: Table
    ) -> None:
        """Refuse a set of which too many images were refused, or with one class alone. DataError says why."""
        from eightgig.tasks.segmentation.manifest import require_usable_masks

        require_usable_masks(Path(raw.root), manifest, class_pixels, rejects, data)

    def split(self, manifest: Table, data: SegmentationDataParameters, class_pixels: Table) -> Table:
        """Return the splits, drawn by the rarest class of each image."""
        from eightgig.data.ingest.splits import make_detection_splits

        return make_detection_splits(
            manifest, class_pixels, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=data.seed
        )

    def content(self, raw: RawImages, chosen: Table, data: SegmentationDataParameters) -> StoreContent:
        """Return the images with their masks."""
        from eightgig.tasks.segmentation.store_content import masked_content

        return masked_content(chosen, _folder(raw, data), data)


def _folder(raw: RawImages, data: SegmentationDataParameters) -> "MaskFolder":
    from eightgig.tasks.segmentation.layouts import scan_mask_folder

    return scan_mask_folder(Path(raw.root), raw.source, data.class_table if data.root else None)
