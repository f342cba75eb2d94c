"""The list of usable images (manifest), their boxes, and everything that was refused or changed (rejects)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.data.images.decoding import Inspection
from eightgig.data.images.streaming import Progress, stream_map
from eightgig.data.ingest.manifest import DECODER_WARNING, inspect_below, printable, require_few_rejects
from eightgig.tasks.detection.annotated import AnnotatedImage, DetectionFolder, Finding
from eightgig.tasks.detection.checks import check_boxes
from eightgig.tasks.detection.copies import UsableImage, settle_copies
from eightgig.tasks.detection.parameters import DetectionDataParameters

MANIFEST_COLUMNS = (
    "path", "codec", "width", "height", "byte_count", "content_hash", "note", "split", "num_boxes",
)  # fmt: skip
BOX_COLUMNS = ("index", "path", "label", "class_name", "x1", "y1", "x2", "y2")
REJECT_COLUMNS = ("path", "class_name", "reason", "detail", "file", "line", "action")


def build_detection_manifest(
    folder: DetectionFolder, parameters: DetectionDataParameters, on_progress: Progress | None = None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return (manifest, boxes, rejects).

    The manifest has one row a usable image, with its ready-made `split` or an empty text. The boxes have one row a
    box: `index` is a row of the manifest, corners are pixels of the upright image. The rejects have one row for
    everything that is not as the files say, with the `action` that was taken; reasons are in `annotated`.

    Memory for images does not grow with their number. Whether what is left will do is asked afterwards
    (`require_usable_detection`), so that the list of rejects is never lost.
    """
    usable, findings = _inspect_all(folder, parameters, on_progress)
    usable, about_copies = settle_copies(usable)
    rejects = _rejects([*folder.findings, *findings, *about_copies])
    return _manifest(usable), _boxes(usable, folder.classes), rejects


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
    refused = rejects[rejects["action"] == "refused"].fillna({"path": "", "file": "", "detail": ""})
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
    reasons = ", ".join(f"{count} {reason}" for reason, count in about["reason"].value_counts().items())
    first = about.iloc[0] if len(about) else None
    raise DataError(
        f"{root}: {len(bare)} of {len(manifest)} images would be taken as background, without any box ({reasons})"
        + (f", the first {first['path']} ({first['detail']})" if first is not None else "")
        + ". Look whether their labels have the names of the images and lie where they are looked for; where the "
        "images show no objects, set data.max_background_fraction above "
        f"{len(bare) / len(manifest):.2f}."
    )


def _inspect_all(
    folder: DetectionFolder, parameters: DetectionDataParameters, on_progress: Progress | None
) -> tuple[list[UsableImage], list[Finding]]:
    """Open the images whose labels can be used, and check their boxes."""

    def inspect(image: AnnotatedImage) -> Inspection | ImageRejectedError:
        return inspect_below(folder.root, image.path, parameters)

    findings = [finding for image in folder.images for finding in image.findings]
    images = [image for image in folder.images if not _is_refused(image.findings)]
    usable = []
    for number, (image, result) in enumerate(zip(images, stream_map(inspect, images), strict=True), start=1):
        kept, found = _judge(folder, image, result, parameters.min_box_side)
        usable += kept
        findings += found
        if on_progress:
            on_progress(number, len(images))
    return usable, findings


def _judge(
    folder: DetectionFolder, image: AnnotatedImage, result: Inspection | ImageRejectedError, min_side: float
) -> tuple[list[UsableImage], list[Finding]]:
    if isinstance(result, ImageRejectedError):
        return [], [Finding(image.path, result.reason, result.detail, "refused")]
    boxes, findings = check_boxes(folder, image, result.width, result.height, min_side)
    if _is_refused(findings):
        return [], [finding for finding in findings if finding.action == "refused"]
    if result.remark:
        findings = [*findings, Finding(image.path, DECODER_WARNING, result.remark, "kept")]
    note = "; ".join(filter(None, (result.note, image.note)))
    return [UsableImage(image.path, image.split, result, boxes, note)], findings


def _is_refused(findings: Iterable[Finding]) -> bool:
    return any(finding.action == "refused" for finding in findings)


def _manifest(usable: Sequence[UsableImage]) -> pd.DataFrame:
    rows = [
        {
            **each.inspection.model_dump(),
            "path": each.path,
            "note": each.note,
            "split": each.split,
            "num_boxes": len(each.boxes),
        }
        for each in usable
    ]
    return pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))


def _boxes(usable: Sequence[UsableImage], classes: Sequence[str]) -> pd.DataFrame:
    rows = [
        (index, each.path, box.label, classes[box.label], *box[1:])
        for index, each in enumerate(usable)
        for box in each.boxes
    ]
    return pd.DataFrame(rows, columns=list(BOX_COLUMNS))


def _rejects(findings: Iterable[Finding]) -> pd.DataFrame:
    texts = ("path", "reason", "detail", "file", "class_name")
    rows = [each._asdict() | {name: printable(getattr(each, name)) for name in texts} for each in findings]
    table = pd.DataFrame(rows, columns=list(REJECT_COLUMNS)).astype({"line": "Int64"})
    return table.sort_values(["path", "file", "line"], ignore_index=True)
