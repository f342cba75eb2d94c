"""The list of usable images with masks (manifest), the pixels of their classes, and what was refused (rejects)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.core.progress import Report
from eightgig.data.images.decoding import Inspection
from eightgig.data.ingest.findings import (
    DECODER_WARNING,
    KEPT,
    REFUSED,
    Finding,
    findings_table,
    require_few_rejects,
)
from eightgig.data.ingest.inspection import FileReader, inspect
from eightgig.data.ingest.manifest import image_recipe, inspect_below
from eightgig.data.ingest.splits import contradicting, judging_split
from eightgig.data.store.masks import VOID
from eightgig.tasks.segmentation.layouts import MaskedImage, MaskFolder
from eightgig.tasks.segmentation.mask_files import inspect_mask
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters

MANIFEST_COLUMNS = (
    "path", "mask_path", "codec", "width", "height", "byte_count", "content_hash", "note", "split",
)  # fmt: skip
PIXEL_COLUMNS = ("index", "path", "label", "class_name", "num_pixels")
REJECT_COLUMNS = ("path", "reason", "detail", "action")
_READ_COLUMNS = (*MANIFEST_COLUMNS, "remark", "mask_remark", "pixels_K")
_FEWEST_IMAGES = 3
_JUDGES = ("test", "val", "")  # of copies, one in no split goes before one in train


class MaskedInspection(Inspection):
    """What an image and its mask are.

    Attributes:
        mask_width: pixels.
        mask_height: pixels.
        pixels_K: of each class.
        mask_remark: what is wrong with the mask's file, or an empty text.
    """

    mask_width: int
    mask_height: int
    pixels_K: tuple[int, ...]
    mask_remark: str = ""


def build_mask_manifest(
    folder: MaskFolder,
    parameters: SegmentationDataParameters,
    report: Report | None = None,
    *,
    journal: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return (manifest, pixels, rejects).

    The manifest has one row a usable image, with its mask and its ready-made `split` or an empty text. The pixels
    have one row for each class of each image: `index` is a row of the manifest. The rejects have one row for
    everything that is not as it should be, with the `action` that was taken.

    Memory for images does not grow with their number. Whether what is left will do is asked afterwards
    (`require_usable_masks`), so that the list of rejects is never lost.

    Args:
        folder: the images and masks.
        parameters: what is refused.
        report: told (done, all).
        journal: as of `eightgig.data.ingest.inspection.inspect`.
    """
    usable, refused = inspect(_reader(folder, parameters), _check, _READ_COLUMNS, journal=journal, report=report)
    findings = [*folder.findings, *refused, *_remarks(usable)]
    usable, about_copies = _settle_copies(usable)
    rejects = findings_table([*findings, *about_copies], REJECT_COLUMNS).sort_values("path", ignore_index=True)
    return usable[list(MANIFEST_COLUMNS)], _pixels(usable, folder.table.classes), rejects


def require_usable_masks(
    root: Path,
    manifest: pd.DataFrame,
    pixels: pd.DataFrame,
    rejects: pd.DataFrame,
    parameters: SegmentationDataParameters,
) -> None:
    """Refuse a set of images of which too much was refused, or whose masks hold one class alone.

    Raises:
        DataError: as said.
    """
    refused = rejects[rejects["action"] == REFUSED]
    require_few_rejects(root, len(manifest), refused, parameters.max_reject_fraction)
    num_different = manifest["content_hash"].nunique()
    classes = sorted(pixels["class_name"].unique())
    if num_different < _FEWEST_IMAGES or len(classes) < 2:
        raise DataError(
            f"{root}: wanted at least {_FEWEST_IMAGES} different images whose masks hold 2 classes or more, found "
            f"{num_different} images with the classes {', '.join(classes) or 'none'}. Look at the rejects, and "
            "whether data.class_table is right (255 is void unless the table says otherwise)."
        )


def _reader(folder: MaskFolder, parameters: SegmentationDataParameters) -> FileReader[MaskedImage, MaskedInspection]:
    return FileReader(
        root=folder.root,
        entries=folder.images,
        files=lambda image: (image.path, image.mask_path),
        read=lambda image: _read(folder, image, parameters),
        record=MaskedInspection,
        recipe=f"{image_recipe(folder.root, parameters)} {folder.table!r}",
    )


def _read(
    folder: MaskFolder, image: MaskedImage, parameters: SegmentationDataParameters
) -> MaskedInspection | ImageRejectedError:
    inspected = inspect_below(folder.root, image.path, parameters)
    if isinstance(inspected, ImageRejectedError):
        return inspected
    try:
        mask = inspect_mask(folder.root / image.mask_path, folder.table, max_pixels=parameters.max_pixels)
    except ImageRejectedError as error:
        return ImageRejectedError(error.reason, f"{image.mask_path}: {error.detail}")
    height, width = mask.labels_HW.shape
    counts = np.bincount(mask.labels_HW.ravel(), minlength=VOID + 1)[: len(folder.table.classes)]
    return MaskedInspection(
        **dict(inspected), mask_width=width, mask_height=height, pixels_K=counts.tolist(), mask_remark=mask.remark
    )


def _check(
    image: MaskedImage, found: MaskedInspection | ImageRejectedError
) -> Iterator[Mapping[str, object] | Finding]:
    if isinstance(found, ImageRejectedError):
        yield Finding(image.path, found.reason, found.detail)
        return
    own, of_mask = (found.width, found.height), (found.mask_width, found.mask_height)
    if own != of_mask:
        detail = "the image has {} x {} pixels upright, its mask {} x {}".format(*own, *of_mask)
        yield Finding(image.path, "size_differs", detail)
    elif not any(found.pixels_K):
        yield Finding(image.path, "all_void", f"{image.mask_path} holds no pixel of any class")
    else:
        yield {**dict(found), **image._asdict()}


def _remarks(usable: pd.DataFrame) -> Iterator[Finding]:
    """Yield what decoders remark on images that are kept, and on their masks."""
    columns = (usable[name] for name in ("path", "mask_path", "remark", "mask_remark"))
    for path, mask_path, remark, mask_remark in zip(*columns, strict=True):
        about_mask = f"{mask_path}: {mask_remark}" if mask_remark else ""
        for detail in filter(None, [remark, about_mask]):
            yield Finding(path, DECODER_WARNING, detail, KEPT)


def _settle_copies(usable: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    """Refuse copies of one image with different masks, and copies outside the split that judges."""
    rank = judging_split(usable, _JUDGES)
    usable = usable.assign(in_conflict=contradicting(usable, "pixels_K"), is_leak=rank["own"] > rank["first"])
    findings = []
    for _, copies in usable[usable.duplicated("content_hash", keep=False)].groupby("content_hash", sort=False):
        judging = _JUDGES[min(int(rank["first"][copies.index[0]]), len(_JUDGES) - 1)]
        for each in copies[copies["in_conflict"] | copies["is_leak"]].itertuples():
            path, others = str(each.path), ", ".join(copies["path"].drop(each.Index))
            if each.in_conflict:
                findings.append(Finding(path, "conflicting_mask", f"same image, other mask: {others}"))
            else:
                findings.append(Finding(path, "in_two_splits", f"the same image is in {judging}: {others}"))
    return usable[~(usable["in_conflict"] | usable["is_leak"])].reset_index(drop=True), findings


def _pixels(usable: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    rows = [
        (index, path, label, classes[label], num_pixels)
        for index, (path, pixels_K) in enumerate(zip(usable["path"], usable["pixels_K"], strict=True))
        for label, num_pixels in enumerate(pixels_K)
        if num_pixels
    ]
    return pd.DataFrame(rows, columns=list(PIXEL_COLUMNS))
