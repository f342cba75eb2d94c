"""The list of usable images with masks (manifest), the pixels of their classes, and what was refused (rejects)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.data.images.decoding import Inspection
from eightgig.data.images.streaming import Progress, stream_map
from eightgig.data.ingest.manifest import DECODER_WARNING, inspect_below, printable, require_few_rejects
from eightgig.data.store.masks import VOID
from eightgig.tasks.segmentation.layouts import Finding, MaskedImage, MaskFolder
from eightgig.tasks.segmentation.mask_files import inspect_mask
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters

MANIFEST_COLUMNS = (
    "path", "mask_path", "codec", "width", "height", "byte_count", "content_hash", "note", "split",
)  # fmt: skip
PIXEL_COLUMNS = ("index", "path", "label", "class_name", "num_pixels")
REJECT_COLUMNS = ("path", "reason", "detail", "action")
_FEWEST_IMAGES = 3


class _Usable(NamedTuple):
    """An image with its pixels of each class, int64 K, and what is wrong with its mask's file, or an empty text."""

    image: MaskedImage
    inspection: Inspection
    pixels_K: npt.NDArray[np.int64]
    mask_remark: str = ""


def build_mask_manifest(
    folder: MaskFolder, parameters: SegmentationDataParameters, on_progress: Progress | None = None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return (manifest, pixels, rejects).

    The manifest has one row a usable image, with its mask and its ready-made `split` or an empty text. The pixels
    have one row for each class of each image: `index` is a row of the manifest. The rejects have one row for
    everything that is not as it should be, with the `action` that was taken.

    Memory for images does not grow with their number. Whether what is left will do is asked afterwards
    (`require_usable_masks`), so that the list of rejects is never lost.
    """

    def inspect(image: MaskedImage) -> _Usable | Finding:
        return _inspect(folder, image, parameters)

    usable, findings = list[_Usable](), list(folder.findings)
    for number, made in enumerate(stream_map(inspect, folder.images), start=1):
        (usable if isinstance(made, _Usable) else findings).append(made)  # type: ignore[arg-type]
        if on_progress:
            on_progress(number, len(folder.images))
    findings += [finding for each in usable for finding in _remarks(each)]
    usable, about_copies = _settle_copies(usable)
    return _manifest(usable), _pixels(usable, folder.table.classes), _rejects([*findings, *about_copies])


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
    require_few_rejects(root, len(manifest), rejects[rejects["action"] == "refused"], parameters.max_reject_fraction)
    num_different = manifest["content_hash"].nunique()
    classes = sorted(pixels["class_name"].unique())
    if num_different < _FEWEST_IMAGES or len(classes) < 2:
        raise DataError(
            f"{root}: wanted at least {_FEWEST_IMAGES} different images whose masks hold 2 classes or more, found "
            f"{num_different} images with the classes {', '.join(classes) or 'none'}. Look at the rejects, and "
            "whether data.class_table is right (255 is void unless the table says otherwise)."
        )


def _inspect(folder: MaskFolder, image: MaskedImage, parameters: SegmentationDataParameters) -> _Usable | Finding:
    inspected = inspect_below(folder.root, image.path, parameters)
    if isinstance(inspected, ImageRejectedError):
        return Finding(image.path, inspected.reason, inspected.detail)
    try:
        mask = inspect_mask(folder.root / image.mask_path, folder.table, max_pixels=parameters.max_pixels)
    except ImageRejectedError as error:
        return Finding(image.path, error.reason, f"{image.mask_path}: {error.detail}")
    labels_HW = mask.labels_HW
    if labels_HW.shape != (inspected.height, inspected.width):
        height, width = labels_HW.shape
        detail = f"the image has {inspected.width} x {inspected.height} pixels upright, its mask {width} x {height}"
        return Finding(image.path, "size_differs", detail)
    pixels_K = np.bincount(labels_HW.ravel(), minlength=VOID + 1)[: len(folder.table.classes)]
    if not pixels_K.any():
        return Finding(image.path, "all_void", f"{image.mask_path} holds no pixel of any class")
    return _Usable(image, inspected, pixels_K, mask.remark)


def _remarks(usable: _Usable) -> list[Finding]:
    """Return what decoders remark on an image that is kept, and on its mask."""
    image, remark = usable.image, usable.mask_remark
    about_mask = f"{image.mask_path}: {remark}" if remark else ""
    told = filter(None, [usable.inspection.remark, about_mask])
    return [Finding(image.path, DECODER_WARNING, detail, "kept") for detail in told]


def _settle_copies(usable: Sequence[_Usable]) -> tuple[list[_Usable], list[Finding]]:
    """Refuse copies of one image with different masks, and copies outside the split that judges."""
    by_content: dict[str, list[_Usable]] = {}
    for each in usable:
        by_content.setdefault(each.inspection.content_hash, []).append(each)
    kept, findings = list[_Usable](), list[Finding]()
    for copies in by_content.values():
        splits = {each.image.split for each in copies}
        judging = next((split for split in ("test", "val") if split in splits), "")
        for each in copies:
            others = ", ".join(other.image.path for other in copies if other is not each)
            if any(not np.array_equal(each.pixels_K, other.pixels_K) for other in copies):
                findings.append(Finding(each.image.path, "conflicting_mask", f"same image, other mask: {others}"))
            elif len(splits) > 1 and each.image.split != judging:
                detail = f"the same image is in {judging}: {others}"
                findings.append(Finding(each.image.path, "in_two_splits", detail))
            else:
                kept.append(each)
    return sorted(kept, key=lambda each: each.image), findings


def _manifest(usable: Sequence[_Usable]) -> pd.DataFrame:
    rows = [{**each.image._asdict(), **each.inspection.model_dump()} for each in usable]
    return pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))


def _pixels(usable: Sequence[_Usable], classes: Sequence[str]) -> pd.DataFrame:
    rows = [
        (index, each.image.path, label, classes[label], int(each.pixels_K[label]))
        for index, each in enumerate(usable)
        for label in np.flatnonzero(each.pixels_K).tolist()
    ]
    return pd.DataFrame(rows, columns=list(PIXEL_COLUMNS))


def _rejects(findings: Iterable[Finding]) -> pd.DataFrame:
    rows = [(printable(each.path), each.reason, printable(each.detail), each.action) for each in findings]
    return pd.DataFrame(rows, columns=list(REJECT_COLUMNS)).sort_values("path", ignore_index=True)
