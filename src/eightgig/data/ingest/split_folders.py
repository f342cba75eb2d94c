"""Whether the folders of a root are classes, or ready-made splits with class folders in them.

What looks like splits but for one folder or name is refused with what was seen: read as classes, it would teach the
names of the splits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eightgig.core.errors import DataError
from eightgig.core.names import all_quoted
from eightgig.data.images.parameters import FolderLayout
from eightgig.data.ingest.split_names import Split, split_of, split_within
from eightgig.data.ingest.walking import files_below, folders_in, has_images, is_image

_MOST_NAMED = 8
_AS_CLASSES = "set data.layout to 'classes' to read each folder as a class"


class SplitFolders(NamedTuple):
    """The folders that are splits, and those beside them that are left out."""

    splits: tuple[tuple[Path, Split], ...]
    left_out: tuple[Path, ...] = ()


def find_splits(root: Path, folders: Sequence[Path], layout: FolderLayout) -> SplitFolders | None:
    """Return the ready-made splits among `folders`, or None where each folder is a class.

    Args:
        root: where the folders are, for messages.
        folders: the visible folders directly in it.
        layout: what the user says that they are; `auto` finds out.

    Raises:
        DataError: they look like splits but for one folder or name, or none is for training.
    """
    if layout == "classes":
        return None
    named = tuple((folder, split) for folder in folders if (split := split_of(folder.name)))
    others = tuple(folder for folder in folders if not split_of(folder.name))
    if layout == "splits":
        return _with_training(root, SplitFolders(named, others))
    nested = [folder for folder, _ in named if _class_folders(folder)]
    if nested and len(folders) > 1:
        return _with_training(root, SplitFolders(named, _without_images(root, named, others)))
    _refuse_flat_splits(root, named, others)
    _refuse_nearly_splits(root, folders)
    return None


def _class_folders(folder: Path) -> list[Path]:
    return [path for path in folders_in(folder) if has_images(path)]


def _without_images(root: Path, named: Sequence[tuple[Path, Split]], others: Sequence[Path]) -> tuple[Path, ...]:
    """Return the folders beside splits; refuse them where they hold images, of which nobody can tell what they are."""
    holding = {folder: sum(map(is_image, files_below(folder))) for folder in others}
    if any(holding.values()):
        beside = ", ".join(f"'{folder.name}' ({count} images)" for folder, count in holding.items() if count)
        raise DataError(
            f"{root}: {_names([folder for folder, _ in named])} hold class folders, as ready-made splits do, but "
            f"beside them lies {beside}, which is no split's name. Move it away, or set data.layout to 'splits', "
            f"which leaves it out; or {_AS_CLASSES}."
        )
    return tuple(others)


def _with_training(root: Path, found: SplitFolders) -> SplitFolders:
    if not any(split == "train" for _, split in found.splits):
        names = ", ".join(folder.name for folder, _ in found.splits) or "none"
        raise DataError(
            f"{root}: its folders are splits ({names}), but none is for training. Add train, or set data.root to one "
            f"of them: then splits are drawn; or {_AS_CLASSES}."
        )
    return found


def _refuse_flat_splits(root: Path, named: Sequence[tuple[Path, Split]], others: Sequence[Path]) -> None:
    """One folder called `train` among others may be a class of vehicles; two splits' names are no classes."""
    holding = [folder for folder, _ in named if has_images(folder)]
    if len({split for folder, split in named if folder in holding}) < 2:
        return
    beside = f" (beside {_names(others)})" if others else ""
    raise DataError(
        f"{root}: {_names(holding)}{beside} are named like ready-made splits, but hold images directly instead of "
        f"one folder a class. Sort each into class folders ({holding[0].name}/CLASS/one.jpg); or {_AS_CLASSES}."
    )


def _refuse_nearly_splits(root: Path, folders: Sequence[Path]) -> None:
    """Splits by another name (seg_train), or below another folder: of a class, or of the whole set."""
    speaking = [folder for folder in folders if split_within(folder.name) and _class_folders(folder)]
    if len({split_within(folder.name) for folder in speaking}) > 1:
        raise DataError(
            f"{root}: {_names(speaking)} hold class folders and are named nearly like ready-made splits. Rename them "
            f"to train, val and test; or {_AS_CLASSES}."
        )
    for folder in folders:
        inner = [path for path in folders_in(folder) if split_of(path.name) and has_images(path)]
        if len({split_of(path.name) for path in inner}) > 1:
            raise DataError(
                f"{root}: wanted splits above the classes (train/CLASS), found {_names(inner)} inside of "
                f"'{folder.name}'. Set data.root to {folder} if that is the set, or turn the folders round; or "
                f"{_AS_CLASSES}."
            )


def _names(folders: Sequence[Path]) -> str:
    shown = all_quoted(folder.name for folder in folders[:_MOST_NAMED])
    return shown + (f" and {len(folders) - _MOST_NAMED} more" if len(folders) > _MOST_NAMED else "")
