"""The list of usable images (manifest) and of what is wrong (rejects), made by opening every file once."""

from pathlib import Path

import pandas as pd

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.data.images.decoding import Inspection, inspect_image
from eightgig.data.images.parameters import DataParameters, ImageParameters
from eightgig.data.images.streaming import Progress
from eightgig.data.ingest.folders import ClassFolders, require_enough
from eightgig.data.ingest.journal import inspect_with_journal
from eightgig.data.ingest.splits import given_splits

MANIFEST_COLUMNS = (
    "path", "label", "class_name", "codec", "width", "height", "byte_count", "content_hash", "note", "split",
)  # fmt: skip
REJECT_COLUMNS = ("path", "class_name", "reason", "detail", "action")
REFUSED, KEPT = "refused", "kept"
DECODER_WARNING = "decoder_warning"
"""The reason of images that are kept although a decoder remarks on them."""


def build_manifest(
    folders: ClassFolders,
    parameters: DataParameters,
    on_progress: Progress | None = None,
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
        on_progress: told (done, all).
        journal: where what was found is written down as it goes, so that after a kill no file is opened again that was
            inspected; None does not.
    """
    manifest, rejects = _inspect_all(folders, parameters, on_progress, journal)
    manifest, conflicts = _split_off_conflicts(manifest)
    manifest, leaked = _split_off_leaks(manifest)
    return manifest, pd.concat([rejects, conflicts, leaked]).sort_values("path", ignore_index=True)


def require_usable(root: Path, manifest: pd.DataFrame, rejects: pd.DataFrame, parameters: DataParameters) -> None:
    """Refuse a set of images of which too much was refused.

    Raises:
        DataError: more than `max_reject_fraction` of the files, or classes with too few different images left.
    """
    refused = rejects[rejects["action"] == REFUSED]
    require_few_rejects(root, len(manifest), refused, parameters.max_reject_fraction)
    _refuse_small_classes(root, manifest, rejects, parameters.min_images_per_class)


def inspect_below(root: Path, path: str, parameters: ImageParameters) -> Inspection | ImageRejectedError:
    """Return what the image at `path`, relative to `root`, is, or why it cannot be used."""
    try:
        path.encode()
        return inspect_image(root / path, max_pixels=parameters.max_pixels, min_side=parameters.min_side)
    except UnicodeEncodeError:
        return ImageRejectedError("unreadable", "the file name is not UTF-8 text; rename the file")
    except ImageRejectedError as error:
        return error


def printable(path: str) -> str:
    """Return `path` as text that can be written to a table, also where its name is not UTF-8."""
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
    folders: ClassFolders, parameters: DataParameters, on_progress: Progress | None, journal: Path | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the usable and the refused files, by columns: rows as objects would take several times more memory."""
    accepted: dict[str, list[object]] = {name: [] for name in MANIFEST_COLUMNS}
    rejected: dict[str, list[object]] = {name: [] for name in REJECT_COLUMNS}

    def tell(path: str, class_name: str, reason: str, detail: str, action: str) -> None:
        row = (printable(path), class_name, reason, printable(detail), action)
        for values, value in zip(rejected.values(), row, strict=True):
            values.append(value)

    splits = folders.splits or ("",) * len(folders.files)
    recipe = f"{parameters.max_pixels} {parameters.min_side} {folders.root}"
    found = inspect_with_journal(
        journal,
        folders.root,
        [path for path, _ in folders.files],
        lambda path: inspect_below(folders.root, path, parameters),
        recipe,
    )
    for number, ((path, label), split, result) in enumerate(zip(folders.files, splits, found, strict=True), start=1):
        class_name = folders.classes[label]
        if isinstance(result, Inspection):
            row = {**dict(result), "path": path, "label": label, "class_name": class_name, "split": split}
            for name, values in accepted.items():
                values.append(row[name])
            if result.remark:
                tell(path, class_name, DECODER_WARNING, result.remark, KEPT)
        else:
            tell(path, class_name, result.reason, result.detail, REFUSED)
        if on_progress:
            on_progress(number, len(folders.files))
    return pd.DataFrame(accepted), pd.DataFrame(rejected)


def _split_off_conflicts(manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Separate images that lie in more than one class."""
    by_content = manifest.groupby("content_hash")["class_name"]
    in_conflict = by_content.transform("nunique").gt(1) if len(manifest) else pd.Series(dtype=bool)
    conflicts = manifest[in_conflict]
    classes_of = conflicts.groupby("content_hash")["class_name"].agg(lambda names: ", ".join(sorted(set(names))))
    details = [f"the same image lies in the classes {classes_of[content]}" for content in conflicts["content_hash"]]
    rows = conflicts[["path", "class_name"]].assign(reason="conflicting_label", detail=details, action=REFUSED)
    return manifest[~in_conflict].reset_index(drop=True), rows


def _split_off_leaks(manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Separate copies that lie outside of the split that judges, of those that lie in several ready-made ones."""
    if manifest.empty or not manifest["split"].any():
        return manifest, pd.DataFrame(columns=list(REJECT_COLUMNS))
    rank = manifest["split"].map({"test": 0, "val": 1}).fillna(2)
    judging = rank.groupby(manifest["content_hash"]).transform("min")
    leaks = manifest[rank > judging]
    details = [f"the same image is in {('test', 'val')[int(judging[row])]}" for row in leaks.index]
    rows = leaks[["path", "class_name"]].assign(reason="in_two_splits", detail=details, action=REFUSED)
    return manifest[rank == judging].reset_index(drop=True), rows


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
