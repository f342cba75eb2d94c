"""Ingest: from what is on disk to a store, its splits, and a list of what was refused; the same for every kind of data.

A kind says where its data come from, how they are inspected, when they will do and how they are split. Its store is its
own.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from kedro.pipeline import Node, Pipeline

from eightgig.core.progress import Report, progress
from eightgig.core.records import Record
from eightgig.stages.annotations import StoreContent, Table
from eightgig.stages.task import Records, stage_node, stage_pipeline

logger = logging.getLogger(__name__)
_MOST_LINES = 12  # of a set in which everything is wrong; all is in the list of rejects


class IngestKind(Protocol):
    """Only what differs between kinds of data."""

    @property
    def records(self) -> Records:
        """As `eightgig.stages.task.Task` has them."""

    @property
    def doing(self) -> str:
        """What a person is told while all is read."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of what an inspection gives beside the manifest and the rejects."""

    def source(self, data: Any) -> Any:
        """Return where the parameters say that the data come from."""

    def inspect(self, raw: Any, data: Any, *, report: Report, journal: Path) -> tuple[Table, ...]:
        """Read everything once; give the manifest, the kind's own tables and the rejects."""

    @property
    def require_usable(self) -> Callable[..., None]:
        """Refuses a set of which too much was refused, or too little is left, by a DataError.

        It is given `raw`, `manifest`, `rejects` and `data` by position, and the kind's own tables by their names.
        """

    @property
    def split(self) -> Callable[..., Table]:
        """Returns which row of the manifest is in which split, of `manifest`, `data` and the tables by their names."""


class ImageKind(IngestKind, Protocol):
    """Images, and what is to be stored of them."""

    @property
    def stored(self) -> tuple[str, ...]:
        """Names of the tables that the store is made of beside the manifest."""

    @property
    def content(self) -> Callable[..., StoreContent]:
        """Returns what the store's dataset writes, of `raw`, the manifest's rows of the splits, `data` and `stored`."""


class PlainImages:
    """What kinds answer alike whose manifest says all that is known of an image; see `IngestKind`."""

    doing = "looking at images"
    tables: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()

    def split(self, manifest: Table, data: Any) -> Table:
        """Return the splits, drawn in each class; copies stay together."""
        from eightgig.data.ingest.splits import make_splits

        return make_splits(manifest, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=data.seed)


def image_ingest(kind: ImageKind) -> Pipeline:
    """Return the nodes from `params:data` to `store` and `splits`."""
    chosen = {name: name for name in ("raw", "manifest", "splits", *kind.stored)}
    inputs = {**chosen, "data": "params:data"}
    store = stage_node(build_store, inputs, "store", task=kind, records=kind.records)
    return stage_pipeline("ingest", [*source_nodes(kind), store])


def source_nodes(kind: IngestKind, *, splits: str = "splits", split_name: str = "split") -> list[Node]:
    """Return the nodes from `params:data` to the manifest, what was refused, and the splits.

    Args:
        kind: of data.
        splits: name of the dataset.
        split_name: of the node that makes it.
    """
    data, tables = {"raw": "raw", "data": "params:data"}, {name: name for name in ("manifest", *kind.tables)}
    of_kind: Any = {"task": kind, "records": kind.records}
    return [
        stage_node(collect, {"data": "params:data"}, "raw", **of_kind),
        stage_node(inspect, {**data, "ingest_journal": "ingest_journal"}, [*tables, "rejects"], **of_kind),
        stage_node(split, {**data, **tables, "rejects": "rejects"}, splits, name=split_name, **of_kind),
    ]


def collect(kind: IngestKind, data: Record) -> Any:
    """Return where the data are that the parameters name, or what brings them to disk."""
    return kind.source(data)


def inspect(kind: IngestKind, raw: Any, data: Record, ingest_journal: Path) -> tuple[Table, ...]:
    """Read everything once; give the manifest of what is kept, tables beside it, and all else with reasons.

    What was read is written into the folder `ingest_journal` as it goes: after a kill none of it is read twice.
    """
    with progress(kind.doing) as report:
        tables = kind.inspect(raw, data, report=report, journal=ingest_journal / "inspected.jsonl")
    log_findings(tables[-1])
    return tables


def split(kind: IngestKind, raw: Any, manifest: Table, rejects: Table, data: Record, **tables: Table) -> Table:
    """Divide the manifest into train, val and test; splits that the data bring are kept.

    Raises:
        DataError: too much was refused, or too little is left; the list of rejects is on disk by now.
    """
    kind.require_usable(raw, manifest, rejects, data, **tables)
    return kind.split(manifest, data, **tables)


def build_store(
    kind: ImageKind, raw: Any, manifest: Table, splits: Table, data: Record, **tables: Table
) -> StoreContent:
    """Return what the store's dataset writes: the images of the splits, streamed.

    It waits for the splits, so that a set which is refused replaces no store.
    """
    return kind.content(raw, manifest.iloc[splits["index"]], data, **tables)


def log_findings(rejects: Table) -> None:
    """Write how many rows of each reason there are, what was done and the first of them."""
    if not len(rejects):
        return
    table = rejects.assign(action=rejects.get("action", "refused"))
    kinds = table.groupby(["reason", "action"], sort=False)
    for (reason, action), rows in list(kinds)[:_MOST_LINES]:
        first = rows.iloc[0]
        where = first.get("path") or first.get("file", "")
        logger.warning("%d x %s (%s), first: %s: %s", len(rows), reason, action, where, first["detail"])
    if len(kinds) > _MOST_LINES:
        logger.warning("and %d more kinds", len(kinds) - _MOST_LINES)
    logger.warning("all %d rows are in rejects.csv", len(rejects))
