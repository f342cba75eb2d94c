"""A folder with one sub-folder a class, and what it holds."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from eightgig.core.errors import DataError
from eightgig.data.images import CODEC_ENDINGS

# Formats that are not read are listed all the same, so that they are reported rather than quietly left out.
PICTURE_ENDINGS = {e for endings in CODEC_ENDINGS.values() for e in endings} | {".tif", ".tiff", ".heic", ".avif"}
_SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
LAYOUT = """Wanted is one folder a class:
  {root}/daisy/one.jpg
  {root}/daisy/more/two.png
  {root}/rose/three.jpg"""


@dataclass(frozen=True)
class ClassFolders:
    """Pictures and their classes, not yet opened.

    Attributes:
        root: the folder that paths are relative to.
        classes: names in alphabetical order; a label is a position in it.
        files: (path relative to root with forward slashes, label), ordered by label and path.
        num_skipped: files passed over: hidden, or no picture by their ending.
        splits: `train`, `val` or `test` of each file where the folder brings splits; otherwise empty.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    num_skipped: int = 0
    splits: tuple[str, ...] = ()


def scan_class_folders(root: Path, *, min_images_per_class: int = 1) -> ClassFolders:
    """Give the pictures below `root`, one folder a class, at any depth; or such folders in train, val and test.

    ImageNet is of the second kind (train/n01440764, val/n01440764): each class must have a picture in train.

    Folders and files whose names begin with a dot, `__MACOSX` and files without a picture's ending are skipped.
    Links are followed; a link that leads back to a folder above itself is not.

    Raises:
        DataError: there is no such folder, its layout is another one, or classes have too few pictures (all named).
    """
    class_folders = _class_folders(root)
    if _are_splits(root, class_folders):
        return _scan_splits(root, class_folders)
    classes, pictures, num_skipped = _scan(class_folders)
    _refuse_no_classes(root, classes, pictures)
    require_enough(root, dict(zip(classes, map(len, pictures), strict=True)), min_images_per_class)
    files = tuple((path.relative_to(root).as_posix(), label) for label, paths in enumerate(pictures) for path in paths)
    return ClassFolders(root, classes, files, num_skipped)


def split_of(folder: str) -> str:
    """Give `train`, `val` or `test` for a folder's name, an empty text for another name."""
    return _SPLITS.get(folder.lower(), "")


def _scan(class_folders: list[Path]) -> tuple[tuple[str, ...], list[list[Path]], int]:
    """Give the classes, the pictures of each, and how many files are none."""
    classes = tuple(folder.name for folder in class_folders)
    found = [list(_files_below(folder)) for folder in class_folders]
    pictures = [sorted(path for path in paths if _is_picture(path)) for paths in found]
    return classes, pictures, sum(map(len, found)) - sum(map(len, pictures))


def _scan_splits(root: Path, split_folders: list[Path]) -> ClassFolders:
    """Give the pictures of ready-made splits; their classes are those of the training split."""
    rows: list[tuple[str, str, str]] = []
    classes_of: dict[str, set[str]] = {}
    num_skipped = 0
    for folder in split_folders:
        _refuse_loose_pictures(folder)
        split = split_of(folder.name)
        names, pictures, skipped = _scan(_class_folders(folder))
        if split == "train":
            _refuse_no_classes(folder, names, pictures)
        classes_of.setdefault(split, set()).update(names)
        num_skipped += skipped
        for name, paths in zip(names, pictures, strict=True):
            rows += [(name, path.relative_to(root).as_posix(), split) for path in paths]
    classes = _trained_classes(root, classes_of)
    in_train = Counter(name for name, _, split in rows if split == "train")
    require_enough(root, {name: in_train[name] for name in classes}, 1, " in train")
    labels = {name: label for label, name in enumerate(classes)}
    rows.sort()
    files = tuple((path, labels[name]) for name, path, _ in rows)
    return ClassFolders(root, classes, files, num_skipped, tuple(split for *_, split in rows))


def require_enough(root: Path, num_images_by_class: Mapping[str, int], min_images: int, where: str = "") -> None:
    """Refuse classes with fewer than `min_images` pictures, all of them in one message; `where` is said with it.

    Raises:
        DataError: at least one class has too few.
    """
    few = {name: count for name, count in num_images_by_class.items() if count < max(min_images, 1)}
    if few:
        named = ", ".join(f"'{name}' has {count or 'none'}" for name, count in few.items())
        raise DataError(
            f"{root}: every class needs at least {max(min_images, 1)} different usable pictures{where}, but {named}. "
            "Add pictures to these folders, or move the folders away."
        )


def _class_folders(root: Path) -> list[Path]:
    if not root.exists():
        raise DataError(f"{root}: there is no such folder. Set data.root to the folder that holds the class folders.")
    if not root.is_dir():
        raise DataError(f"{root}: wanted a folder of class folders, found a file. Set data.root to a folder.")
    try:
        folders = [path for path in _visible(root) if path.is_dir()]
    except OSError as error:
        raise DataError(f"{root}: the folder cannot be read ({error.strerror}). Check its permissions.") from error
    for folder in folders:
        if not _is_text(folder.name):
            raise DataError(f"{root}: the folder name {os.fsencode(folder.name)!r} is not UTF-8 text. Rename it.")
    return folders


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "__MACOSX")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_picture(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix.lower() in PICTURE_ENDINGS


def _files_below(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Give all files, hidden ones too; `above` identifies the folders that lead here, so that links cannot loop."""
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    for path in sorted(folder.iterdir()):
        if path.is_file():
            yield path
        elif path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX":
            yield from _files_below(path, above | {identity})


def _refuse_no_classes(root: Path, classes: tuple[str, ...], pictures: list[list[Path]]) -> None:
    layout = LAYOUT.format(root=root)
    if not classes:
        num_loose = sum(_is_picture(path) for path in _visible(root))
        found = f"{num_loose} pictures directly in it" if num_loose else "neither folders nor pictures in it"
        raise DataError(f"{root}: wanted class folders, found {found}. {layout}")
    if len(classes) == 1:
        raise DataError(f"{root}: wanted at least two class folders, found only '{classes[0]}'. {layout}")
    if not any(pictures):
        raise DataError(f"{root}: its {len(classes)} folders hold no pictures. {layout}")


def _are_splits(root: Path, folders: list[Path]) -> bool:
    """Two layouts look alike: `train` could be a class; only folders named like splits, all of them, tell."""
    if len(folders) < 2 or not all(split_of(folder.name) for folder in folders):
        return False
    if not any(path.is_dir() for folder in folders for path in _visible(folder)):
        return False
    if not any(split_of(folder.name) == "train" for folder in folders):
        names = ", ".join(folder.name for folder in folders)
        raise DataError(
            f"{root}: its folders are splits ({names}), but none is for training. Add train, or set data.root to one "
            "of them: then splits are drawn."
        )
    return True


def _refuse_loose_pictures(split_folder: Path) -> None:
    """ImageNet's val comes as 50,000 files without class folders, with the labels in a file of the devkit."""
    visible = _visible(split_folder)
    loose = [path.name for path in visible if path.is_file() and _is_picture(path)]
    if loose and not any(path.is_dir() for path in visible):
        raise DataError(
            f"{split_folder}: wanted one folder a class, found {len(loose)} pictures directly in it, such as "
            f"{loose[0]}. Move each into a folder of its class, named as in train (for ImageNet's val the well-known "
            "script valprep.sh does so); or move this folder away, or set data.root to "
            f"{split_folder.with_name('train')}: then splits are drawn."
        )


def _trained_classes(root: Path, classes_of: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Give the classes of the training split; refuse others, which nothing could be learned of."""
    trained = classes_of["train"]
    untrained = {name: split for split, names in classes_of.items() for name in sorted(names - trained)}
    if untrained:
        named = ", ".join(f"'{name}' (only in {split})" for name, split in list(untrained.items())[:10])
        raise DataError(
            f"{root}: {len(untrained)} classes have no folder in train: {named}. Add them there, or move them away."
        )
    return tuple(sorted(trained))
