"""The list of usable images in class folders (manifest) and of what is wrong (rejects), of every file read once."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd

from eightgig.core.errors import ImageRejectedError
from eightgig.core.progress import Report
from eightgig.data.images.decoding import Inspection, inspect_image
from eightgig.data.images.parameters import DataParameters, ImageParameters
from eightgig.data.ingest.findings import (
    DECODER_WARNING,
    KEPT,
    REFUSED,
    Finding,
    findings_table,
    require_few_rejects,
)
from eightgig.data.ingest.folders import ClassFolders, require_enough
from eightgig.data.ingest.inspection import FileReader, Inspected, inspect
from eightgig.data.ingest.splits import contradicting, given_splits, judging_split

MANIFEST_COLUMNS = (
    "path", "label", "class_name", "codec", "width", "height", "byte_count", "content_hash", "note", "split",
)  # fmt: skip
REJECT_COLUMNS = ("path", "class_name", "reason", "detail", "action")


class ImageRow(Protocol):
    """What is known of an image before it is read: a named tuple with these fields, and others that are columns.

    Attributes:
        path: relative to the root.
        class_name: of its label, or what is known of it.
    """

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def class_name(self) -> str: ...  # noqa: D102
    def _asdict(self) -> dict[str, Any]: ...


class _Labelled(NamedTuple):
    path: str
    label: int
    class_name: str
    split: str


def build_manifest(
    folders: ClassFolders,
    parameters: DataParameters,
    report: Report | None = None,
    *,
    journal: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (manifest, rejects): one row a usable image, and one a file of which something is wrong, with its reason.

    The `action` of a reject is `refused`, or `kept` for an image that is whole although a decoder remarks on it.

    Memory for images does not grow with their number. The same image twice in one class is kept (the split keeps
    the copies together); in two classes all copies are refused, since nobody can tell which label is right; and in two
    ready-made splits those are refused that are not in the one that judges.
    Whether what is left will do is asked afterwards (`require_usable`), so that the list of rejects is never lost.

    Args:
        folders: the files, with ready-made splits or without.
        parameters: what is refused.
        report: told (done, all).
        journal: where what was found is written down as it goes, so that after a kill no file is opened again that was
            inspected; None does not.
    """
    splits = folders.splits or ("",) * len(folders.files)
    rows = [
        _Labelled(path, label, folders.classes[label], split)
        for (path, label), split in zip(folders.files, splits, strict=True)
    ]
    how: Any = {"journal": journal, "report": report}
    manifest, findings = inspect_images(folders.root, rows, MANIFEST_COLUMNS, parameters, **how)
    manifest, conflicts = _split_off_conflicts(manifest)
    manifest, leaked = _split_off_leaks(manifest)
    rejects = pd.concat([findings_table(findings, REJECT_COLUMNS), conflicts, leaked])
    return manifest, rejects.sort_values("path", ignore_index=True)


def inspect_images(
    root: Path,
    rows: Sequence[ImageRow],
    columns: Sequence[str],
    parameters: ImageParameters,
    *,
    journal: Path | None = None,
    report: Report | None = None,
) -> Inspected:
    """Return what is kept of images that are known by a row each, with what was found in the file, and the findings.

    Args:
        root: what the paths are relative to.
        rows: named tuples: what is known of each image before it is read.
        columns: of what is kept.
        parameters: what is refused.
        journal: as of `eightgig.data.ingest.inspection.inspect`; `report` likewise.
        report: told (done, all).
    """
    reader = FileReader(
        root=root,
        entries=rows,
        files=lambda row: (row.path,),
        read=lambda row: inspect_below(root, row.path, parameters),
        record=Inspection,
        recipe=image_recipe(root, parameters),
    )
    return inspect(reader, _check, columns, journal=journal, report=report)


def require_usable(root: Path, manifest: pd.DataFrame, rejects: pd.DataFrame, parameters: DataParameters) -> None:
    """Refuse a set of images of which too much was refused.

    Raises:
        DataError: more than `max_reject_fraction` of the files, or classes with too few different images left.
    """
    refused = rejects[rejects["action"] == REFUSED]
    require_few_rejects(root, len(manifest), refused, parameters.max_reject_fraction)
    _refuse_small_classes(root, manifest, rejects, parameters.min_images_per_class)


def class_names(manifest: pd.DataFrame) -> list[str]:
    """Return the classes by their labels; each has an image, or the set would have been refused."""
    named = manifest.drop_duplicates("label").sort_values("label")
    return [str(name) for name in named["class_name"]]


def inspect_below(root: Path, path: str, parameters: ImageParameters) -> Inspection | ImageRejectedError:
    """Return what the image at `path`, relative to `root`, is, or why it cannot be used."""
    try:
        path.encode()
        return inspect_image(root / path, max_pixels=parameters.max_pixels, min_side=parameters.min_side)
    except UnicodeEncodeError:
        return ImageRejectedError("unreadable", "the file name is not UTF-8 text; rename the file")
    except ImageRejectedError as error:
        return error


def image_recipe(root: Path, parameters: ImageParameters) -> str:
    """Return what besides the file decides what `inspect_below` gives."""
    return f"{parameters.max_pixels} {parameters.min_side} {root}"


def _check(entry: ImageRow, found: Inspection | ImageRejectedError) -> Iterator[Mapping[str, object] | Finding]:
    if isinstance(found, ImageRejectedError):
        yield Finding(entry.path, found.reason, found.detail, class_name=entry.class_name)
        return
    yield {**dict(found), **entry._asdict()}
    if found.remark:
        yield Finding(entry.path, DECODER_WARNING, found.remark, KEPT, class_name=entry.class_name)


def _split_off_conflicts(manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Separate images that lie in more than one class."""
    in_conflict = contradicting(manifest, "class_name")
    conflicts = manifest[in_conflict]
    classes_of = conflicts.groupby("content_hash")["class_name"].agg(lambda names: ", ".join(sorted(set(names))))
    details = [f"the same image lies in the classes {classes_of[content]}" for content in conflicts["content_hash"]]
    rows = conflicts[["path", "class_name"]].assign(reason="conflicting_label", detail=details, action=REFUSED)
    return manifest[~in_conflict].reset_index(drop=True), rows


def _split_off_leaks(manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Separate copies that lie outside of the split that judges, of those that lie in several ready-made ones."""
    if manifest.empty or not manifest["split"].any():
        return manifest, pd.DataFrame(columns=list(REJECT_COLUMNS))
    rank = judging_split(manifest)
    is_leak = rank["own"] > rank["first"]
    leaks = manifest[is_leak]
    details = [f"the same image is in {('test', 'val')[int(first)]}" for first in rank["first"][is_leak]]
    rows = leaks[["path", "class_name"]].assign(reason="in_two_splits", detail=details, action=REFUSED)
    return manifest[~is_leak].reset_index(drop=True), rows


def _refuse_small_classes(root: Path, manifest: pd.DataFrame, rejects: pd.DataFrame, min_images: int) -> None:
    """Count different images: three copies of one cannot be spread over three splits.

    Where splits are ready-made, one image to train on is enough.
    """
    classes = sorted({*manifest["class_name"], *rejects["class_name"]})
    where = ""
    splits = given_splits(manifest)
    if any(splits):
        manifest, min_images, where = manifest[splits == "train"], 1, " in train"
    counts = manifest.groupby("class_name")["content_hash"].nunique().reindex(classes, fill_value=0)
    require_enough(root, {str(name): int(count) for name, count in counts.items()}, min_images, where)
