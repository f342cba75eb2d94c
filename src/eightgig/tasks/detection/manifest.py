"""The list of usable images (manifest), their boxes, and everything that was refused or changed (rejects)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.core.progress import Report
from eightgig.data.images.decoding import Inspection
from eightgig.data.ingest.findings import (
    DECODER_WARNING,
    KEPT,
    REFUSED,
    Finding,
    count_reasons,
    findings_table,
    require_few_rejects,
)
from eightgig.data.ingest.inspection import FileReader, inspect
from eightgig.data.ingest.manifest import image_recipe, inspect_below
from eightgig.tasks.detection.annotated import AnnotatedImage, DetectionFolder
from eightgig.tasks.detection.checks import check_boxes
from eightgig.tasks.detection.copies import settle_copies
from eightgig.tasks.detection.parameters import DetectionDataParameters

MANIFEST_COLUMNS = (
    "path", "codec", "width", "height", "byte_count", "content_hash", "note", "split", "num_boxes",
)  # fmt: skip
BOX_COLUMNS = ("index", "path", "label", "class_name", "x1", "y1", "x2", "y2")
REJECT_COLUMNS = ("path", "class_name", "reason", "detail", "file", "line", "action")


def build_detection_manifest(
    folder: DetectionFolder,
    parameters: DetectionDataParameters,
    report: Report | None = None,
    *,
    journal: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return (manifest, boxes, rejects).

    The manifest has one row a usable image, with its ready-made `split` or an empty text. The boxes have one row a
    box: `index` is a row of the manifest, corners are pixels of the upright image. The rejects have one row for
    everything that is not as the files say, with the `action` that was taken; reasons are in `annotated`.

    Memory for images does not grow with their number. Whether what is left will do is asked afterwards
    (`require_usable_detection`), so that the list of rejects is never lost.

    Args:
        folder: the images, and their labels as they were read.
        parameters: what is refused.
        report: told (done, all).
        journal: as of `eightgig.data.ingest.inspection.inspect`.
    """

    def check(
        image: AnnotatedImage, found: Inspection | ImageRejectedError
    ) -> Iterator[Mapping[str, object] | Finding]:
        return _check(folder, image, found, parameters.min_box_side)

    columns = (*MANIFEST_COLUMNS, "boxes")
    usable, findings = inspect(_reader(folder, parameters), check, columns, journal=journal, report=report)
    usable, about_copies = settle_copies(usable)
    of_labels = [finding for image in folder.images for finding in image.findings]
    rejects = _rejects([*folder.findings, *of_labels, *findings, *about_copies])
    return usable[list(MANIFEST_COLUMNS)], _boxes(usable, folder.classes), rejects


def require_usable_detection(
    root: Path,
    manifest: pd.DataFrame,
    boxes: pd.DataFrame,
    rejects: pd.DataFrame,
    parameters: DetectionDataParameters,
    classes: Sequence[str] = (),
) -> None:
    """Refuse a set of images of which too much was refused, that holds no boxes, or hardly any image with one.

    Raises:
        DataError: more than `max_reject_fraction` of the images were refused, no box is left, or
            `max_background_fraction` of the images have none. Where `classes` are given, those without a box are
            named in it.
    """
    refused = rejects[rejects["action"] == REFUSED].fillna({"path": "", "file": "", "detail": ""})
    nameless = refused["file"] + " " + refused["detail"]  # of one file, each image that is not there counts
    named = refused.assign(path=refused["path"].where(refused["path"] != "", nameless)).drop_duplicates("path")
    require_few_rejects(root, len(manifest), named, parameters.max_reject_fraction)
    if boxes.empty:
        of_classes = f" of the classes {', '.join(classes)}" if classes else ""
        raise DataError(
            f"{root}: {len(manifest)} images can be used, but there is not one box{of_classes}. "
            f"Look at the {len(rejects)} rejects, and whether data.annotations is right."
        )
    _refuse_background(root, manifest, rejects, parameters.max_background_fraction)


def _refuse_background(root: Path, manifest: pd.DataFrame, rejects: pd.DataFrame, max_fraction: float) -> None:
    """Refuse a set in which labels of many images were lost: as background they would teach that nothing is there."""
    bare = manifest[manifest["num_boxes"] == 0]
    if len(bare) < max_fraction * len(manifest):
        return
    about = rejects[rejects["path"].isin(set(bare["path"]))].drop_duplicates(["path", "reason"])
    first = about.iloc[0] if len(about) else None
    raise DataError(
        f"{root}: {len(bare)} of {len(manifest)} images would be taken as background, without any box "
        f"({count_reasons(about)})"
        + (f", the first {first['path']} ({first['detail']})" if first is not None else "")
        + ". Look whether their labels have the names of the images and lie where they are looked for; where the "
        "images show no objects, set data.max_background_fraction above "
        f"{len(bare) / len(manifest):.2f}."
    )


def _reader(folder: DetectionFolder, parameters: DetectionDataParameters) -> FileReader[AnnotatedImage, Inspection]:
    """Return the reader of the images whose labels can be used."""
    return FileReader(
        root=folder.root,
        entries=[image for image in folder.images if not _is_refused(image.findings)],
        files=lambda image: (image.path,),
        read=lambda image: inspect_below(folder.root, image.path, parameters),
        record=Inspection,
        recipe=image_recipe(folder.root, parameters),
    )


def _check(
    folder: DetectionFolder, image: AnnotatedImage, found: Inspection | ImageRejectedError, min_side: float
) -> Iterator[Mapping[str, object] | Finding]:
    if isinstance(found, ImageRejectedError):
        yield Finding(image.path, found.reason, found.detail)
        return
    boxes, findings = check_boxes(folder, image, found.width, found.height, min_side)
    if _is_refused(findings):
        yield from (finding for finding in findings if finding.action == REFUSED)
        return
    yield from findings
    if found.remark:
        yield Finding(image.path, DECODER_WARNING, found.remark, KEPT)
    own = {"path": image.path, "split": image.split, "note": "; ".join(filter(None, (found.note, image.note)))}
    yield {**dict(found), **own, "boxes": boxes, "num_boxes": len(boxes)}


def _is_refused(findings: Iterable[Finding]) -> bool:
    return any(finding.action == REFUSED for finding in findings)


def _boxes(usable: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    rows = [
        (index, path, box.label, classes[box.label], *box[1:])
        for index, (path, boxes) in enumerate(zip(usable["path"], usable["boxes"], strict=True))
        for box in boxes
    ]
    return pd.DataFrame(rows, columns=list(BOX_COLUMNS))


def _rejects(findings: Iterable[Finding]) -> pd.DataFrame:
    table = findings_table(findings, REJECT_COLUMNS).astype({"line": "Int64"})
    return table.sort_values(["path", "file", "line"], ignore_index=True)
