"""The list of usable pictures (manifest) and of refused ones (rejects), made by opening every file once."""

from pathlib import Path

import pandas as pd

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.data.folders import ClassFolders, require_enough
from eightgig.data.images import Inspection, inspect_image
from eightgig.data.parameters import DataParameters, PictureParameters
from eightgig.data.streaming import Progress, stream_map

MANIFEST_COLUMNS = (
    "path", "label", "class_name", "codec", "width", "height", "byte_count", "content_hash", "note",
)  # fmt: skip
REJECT_COLUMNS = ("path", "class_name", "reason", "detail")


def build_manifest(
    folders: ClassFolders, parameters: DataParameters, on_progress: Progress | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give (manifest, rejects): one row a usable picture, and one a refused file with its reason.

    Memory for pictures does not grow with their number. The same picture twice in one class is kept (the split keeps
    the copies together); in two classes all copies are refused, since nobody can tell which label is right.
    Whether what is left will do is asked afterwards (`require_usable`), so that the list of rejects is never lost.
    """
    accepted, rejected = _inspect_all(folders, parameters, on_progress)
    manifest = pd.DataFrame(accepted, columns=list(MANIFEST_COLUMNS))
    manifest, conflicts = _split_off_conflicts(manifest)
    rejects = pd.DataFrame(rejected, columns=list(REJECT_COLUMNS))
    return manifest, pd.concat([rejects, conflicts]).sort_values("path", ignore_index=True)


def require_usable(root: Path, manifest: pd.DataFrame, rejects: pd.DataFrame, parameters: DataParameters) -> None:
    """Refuse a set of pictures of which too much was refused.

    Raises:
        DataError: more than `max_reject_fraction` of the files, or classes with too few different pictures left.
    """
    require_few_rejects(root, len(manifest), rejects, parameters.max_reject_fraction)
    _refuse_small_classes(root, manifest, rejects, parameters.min_images_per_class)


def inspect_below(root: Path, path: str, parameters: PictureParameters) -> Inspection | ImageRejectedError:
    """Give what the picture at `path`, relative to `root`, is, or why it cannot be used."""
    try:
        path.encode()
        return inspect_image(root / path, max_pixels=parameters.max_pixels, min_side=parameters.min_side)
    except UnicodeEncodeError:
        return ImageRejectedError("unreadable", "the file name is not UTF-8 text; rename the file")
    except ImageRejectedError as error:
        return error


def printable(path: str) -> str:
    """Give `path` as text that can be written to a table, also where its name is not UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def require_few_rejects(root: Path, num_usable: int, rejects: pd.DataFrame, max_fraction: float) -> None:
    """Refuse a set of which more than `max_fraction` of the files are among the `rejects`, one row a file.

    Raises:
        DataError: too many; the reasons are counted and the first five files named.
    """
    num_files = num_usable + len(rejects)
    if len(rejects) <= max_fraction * num_files:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in rejects["reason"].value_counts().items())
    first = "; ".join(f"{row.path} ({row.reason}: {row.detail})" for row in rejects.head(5).itertuples())
    raise DataError(
        f"{root}: {len(rejects)} of {num_files} files cannot be used ({reasons}); at most "
        f"{max_fraction:.0%} may be refused. First: {first}. Repair or remove them, or raise data.max_reject_fraction."
    )


def _inspect_all(
    folders: ClassFolders, parameters: DataParameters, on_progress: Progress | None
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    def inspect(file: tuple[str, int]) -> Inspection | ImageRejectedError:
        return inspect_below(folders.root, file[0], parameters)

    accepted: list[dict[str, object]] = []
    rejected: list[dict[str, object]] = []
    for number, (file, result) in enumerate(zip(folders.files, stream_map(inspect, folders.files), strict=True), 1):
        path, label = file
        row: dict[str, object] = {"path": path, "class_name": folders.classes[label]}
        if isinstance(result, Inspection):
            accepted.append({**row, "label": label, **result.model_dump()})
        else:
            rejected.append({**row, "path": printable(path), "reason": result.reason, "detail": result.detail})
        if on_progress:
            on_progress(number, len(folders.files))
    return accepted, rejected


def _split_off_conflicts(manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Separate pictures that lie in more than one class."""
    by_content = manifest.groupby("content_hash")["class_name"]
    in_conflict = by_content.transform("nunique").gt(1) if len(manifest) else pd.Series(dtype=bool)
    conflicts = manifest[in_conflict]
    details = [
        "the same picture lies in the classes " + ", ".join(sorted(set(conflicts["class_name"][same])))
        for content in conflicts["content_hash"]
        for same in [conflicts["content_hash"] == content]
    ]
    rows = conflicts[["path", "class_name"]].assign(reason="conflicting_label", detail=details)
    return manifest[~in_conflict].reset_index(drop=True), rows


def _refuse_small_classes(root: Path, manifest: pd.DataFrame, rejects: pd.DataFrame, min_images: int) -> None:
    """Count different pictures: three copies of one cannot be spread over three splits."""
    classes = sorted({*manifest["class_name"], *rejects["class_name"]})
    counts = manifest.groupby("class_name")["content_hash"].nunique().reindex(classes, fill_value=0)
    require_enough(root, {str(name): int(count) for name, count in counts.items()}, min_images)
