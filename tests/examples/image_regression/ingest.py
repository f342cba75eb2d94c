"""Ingest: from images and a table of numbers to what a store is to hold, and a list of what was refused."""

from pathlib import Path

from eightgig.core.errors import DataError
from eightgig.core.progress import Report
from eightgig.data.ingest.sources import RawImages, Source, UserFolder
from eightgig.stages.annotations import StoreContent, Table
from eightgig.stages.ingest import PlainImages
from eightgig.tasks.image_regression.parameters import RECORDS, RegressionDataParameters


class MeasuredImages(PlainImages):
    """Images with a number each (see `eightgig.stages.ingest.ImageKind`)."""

    records = RECORDS

    def source(self, data: RegressionDataParameters) -> Source:
        """Return the user's folder."""
        return UserFolder(data.root, "images with numbers")

    def inspect(
        self, raw: RawImages, data: RegressionDataParameters, *, report: Report, journal: Path
    ) -> tuple[Table, Table]:
        """Return the manifest and the rejects."""
        from eightgig.tasks.image_regression.manifest import build_manifest

        return build_manifest(Path(raw.root), data, report, journal)

    def require_usable(self, raw: RawImages, manifest: Table, rejects: Table, data: RegressionDataParameters) -> None:
        """Refuse a set of which too much was refused, or that cannot fill three splits. DataError says why."""
        from eightgig.data.ingest.findings import REFUSED, require_few_rejects

        refused = rejects[rejects["action"] == REFUSED]
        require_few_rejects(Path(raw.root), len(manifest), refused, data.max_reject_fraction)
        if (different := manifest["content_hash"].nunique()) < 3:
            raise DataError(f"{raw.root}: wanted 3 different images with a number, found {different}. Add images.")

    def content(self, raw: RawImages, chosen: Table, data: RegressionDataParameters) -> StoreContent:
        """Return the images with their numbers, of which all are of one class."""
        from eightgig.data.ingest.manifest import class_names
        from eightgig.data.store.content import StoreContent

        return StoreContent(chosen, Path(raw.root), class_names(chosen), data)
