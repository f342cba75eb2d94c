"""Ingest: from images and a table of numbers to an HDF5 store, its splits, and a list of what was refused."""

from pathlib import Path

from kedro.pipeline import Pipeline

from eightgig.core.errors import DataError
from eightgig.core.progress import Report
from eightgig.data.ingest.sources import RawImages, Source, UserFolder
from eightgig.stages.annotations import StoreContent, Table
from eightgig.stages.ingest import source_nodes
from eightgig.stages.task import stage_node, stage_pipeline
from eightgig.tasks.image_regression.parameters import RECORDS, RegressionDataParameters


def create_pipeline() -> Pipeline:
    """Return the nodes from `params:data` to `store` and `splits`."""
    chosen = {"raw": "raw", "manifest": "manifest", "splits": "splits", "data": "params:data"}
    return stage_pipeline("ingest", [*source_nodes(MeasuredImages()), stage_node(build_store, chosen, "store")])


class MeasuredImages:
    """Images with a number each (see `eightgig.stages.ingest.IngestKind`)."""

    records = RECORDS
    doing = "looking at images"
    tables = ()

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

    def split(self, manifest: Table, data: RegressionDataParameters) -> Table:
        """Return the splits, drawn from all images alike; copies stay together."""
        from eightgig.data.ingest.splits import make_splits

        return make_splits(manifest, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=data.seed)


def build_store(raw: RawImages, manifest: Table, splits: Table, data: RegressionDataParameters) -> StoreContent:
    """Return what the store's dataset writes; it waits for the splits, so that a refused set replaces no store."""
    from eightgig.data.store.content import StoreContent

    chosen = manifest.iloc[splits["index"]]
    return StoreContent(chosen, Path(raw.root), [str(manifest["class_name"].iloc[0])], data)
