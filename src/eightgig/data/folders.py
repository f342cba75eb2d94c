"""A folder with one sub-folder a class, and what it holds."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from eightgig.core.errors import DataError
from eightgig.data.images import CODEC_ENDINGS

# Formats that are not read are listed all the same, so that they are reported rather than quietly left out.
PICTURE_ENDINGS = {e for endings in CODEC_ENDINGS.values() for e in endings} | {".tif", ".tiff", ".heic", ".avif"}
SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
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
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    num_skipped: int = 0


def scan_class_folders(root: Path, *, min_images_per_class: int = 1) -> ClassFolders:
    """Give the pictures below `root`, one folder a class, at any depth below it.

    Folders and files whose names begin with a dot, `__MACOSX` and files without a picture's ending are skipped.
    Links are followed; a link that leads back to a folder above itself is not.

    Raises:
        DataError: there is no such folder, its layout is another one, or classes have too few pictures (all named).
    """
    class_folders = _class_folders(root)
    _refuse_split_folders(root, class_folders)
    classes = tuple(folder.name for folder in class_folders)
    found = [list(_files_below(folder)) for folder in class_folders]
    pictures = [sorted(path for path in paths if _is_picture(path)) for paths in found]
    _refuse_no_classes(root, classes, pictures)
    require_enough(root, dict(zip(classes, map(len, pictures), strict=True)), min_images_per_class)
    files = tuple((path.relative_to(root).as_posix(), label) for label, paths in enumerate(pictures) for path in paths)
    return ClassFolders(root, classes, files, sum(map(len, found)) - len(files))


def require_enough(root: Path, num_images_by_class: Mapping[str, int], min_images: int) -> None:
    """Refuse classes with fewer than `min_images` pictures, all of them in one message.

    Raises:
        DataError: at least one class has too few.
    """
    few = {name: count for name, count in num_images_by_class.items() if count < max(min_images, 1)}
    if few:
        named = ", ".join(f"'{name}' has {count or 'none'}" for name, count in few.items())
        raise DataError(
            f"{root}: every class needs at least {max(min_images, 1)} different usable pictures, but {named}. "
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


def _refuse_split_folders(root: Path, folders: list[Path]) -> None:
    """Two layouts look alike: `train` could be a class; only all folders named like splits tell."""
    if len(folders) < 2 or not all(folder.name.lower() in SPLIT_NAMES for folder in folders):
        return
    classes = {folder.name: {path.name for path in _visible(folder) if path.is_dir()} for folder in folders}
    if not any(classes.values()):
        return
    raise DataError(
        f"{root}: its folders are ready-made splits ({', '.join(classes)}), and this project splits by itself. "
        f"{LAYOUT.format(root=root)}\nSet data.root to {root / next(iter(classes))}, or merge the splits into one "
        f"folder a class.{_class_differences(classes)}"
    )


def _class_differences(classes: Mapping[str, set[str]]) -> str:
    counts = Counter(name for names in classes.values() for name in names)
    partial = sorted(name for name, count in counts.items() if count < len(classes))
    if not partial:
        return ""
    return " Not in every split: " + ", ".join(f"'{name}' (only in {_where(name, classes)})" for name in partial) + "."


def _where(name: str, classes: Mapping[str, Iterable[str]]) -> str:
    return ", ".join(split for split, names in classes.items() if name in names)
