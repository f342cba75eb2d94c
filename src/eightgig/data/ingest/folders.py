"""A folder with one sub-folder a class, and what it holds."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from eightgig.core.errors import DataError
from eightgig.core.names import alike_but_for_case, all_quoted, composed, name_key
from eightgig.data.images.parameters import FolderLayout
from eightgig.data.ingest.split_folders import SplitFolders, find_splits
from eightgig.data.ingest.split_names import Split, split_of
from eightgig.data.ingest.walking import files_below, folders_in, is_image, visible

LAYOUT = """Wanted is one folder a class:
  {root}/daisy/one.jpg
  {root}/daisy/more/two.png
  {root}/rose/three.jpg"""


@dataclass(frozen=True)
class ClassFolders:
    """Images and their classes, not yet opened.

    Attributes:
        root: the folder that paths are relative to.
        classes: names in alphabetical order, in Unicode's composed form; a label is a position in it.
        files: (path relative to root with forward slashes, label), ordered by label and path.
        num_skipped: files passed over: hidden, or no image by their ending.
        splits: `train`, `val` or `test` of each file where the folder brings splits; otherwise empty.
        notes: what a person should know of how the folders were read, a sentence each.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    num_skipped: int = 0
    splits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class _Scanned(NamedTuple):
    """The images of each class folder, and the number of files that are none."""

    images: dict[str, list[Path]]
    num_skipped: int


def scan_class_folders(root: Path, *, min_images_per_class: int = 1, layout: FolderLayout = "auto") -> ClassFolders:
    """Return the images below `root`, one folder a class, at any depth; or such folders in train, val and test.

    ImageNet is of the second kind (train/n01440764, val/n01440764): each class must have an image in train.

    Folders and files whose names begin with a dot, `__MACOSX` and files without an image's ending are skipped.
    Links are followed; a link that leads back to a folder above itself is not.

    Args:
        root: the folder.
        min_images_per_class: of a class without ready-made splits.
        layout: whether its folders are `classes` or `splits`; `auto` finds out.

    Raises:
        DataError: there is no such folder, its layout is another one or cannot be told, or classes have too few
            images (all named).
    """
    class_folders = _class_folders(root)
    if splits := find_splits(root, class_folders, layout):
        return _scan_splits(root, splits)
    scanned = _scan(root, class_folders)
    classes = tuple(sorted(scanned.images))
    _refuse_no_classes(root, classes, scanned.images.values())
    require_enough(root, {name: len(scanned.images[name]) for name in classes}, min_images_per_class)
    files = tuple(
        (path.relative_to(root).as_posix(), label)
        for label, name in enumerate(classes)
        for path in scanned.images[name]
    )
    notes = (*_loose(root), *_like_a_split(classes, layout), *_differ_in_case(classes))
    return ClassFolders(root, classes, files, scanned.num_skipped, notes=notes)


def _scan(root: Path, class_folders: Sequence[Path]) -> _Scanned:
    """Return the images by class; refuse two folders whose names look the same, as nobody can tell them apart."""
    folder_of: dict[str, Path] = {}
    for folder in class_folders:
        other = folder_of.setdefault(composed(folder.name), folder)
        if other is not folder:
            raise DataError(
                f"{root}: the class folders {all_quoted((other.name, folder.name))} have names that look the same, in "
                "two forms of Unicode. Move the images of one into the other."
            )
    found = {name: list(files_below(folder)) for name, folder in folder_of.items()}
    images = {name: sorted(filter(is_image, paths)) for name, paths in found.items()}
    return _Scanned(images, sum(map(len, found.values())) - sum(map(len, images.values())))


def _scan_splits(root: Path, found: SplitFolders) -> ClassFolders:
    """Return the images of ready-made splits; their classes are those of the training split."""
    rows: list[tuple[str, str, str]] = []
    classes_of: dict[str, set[str]] = defaultdict(set)
    num_skipped = 0
    for folder, split in found.splits:
        _refuse_loose_images(folder)
        scanned = _scan(folder, _class_folders(folder))
        if split == "train":
            _refuse_no_classes(folder, tuple(scanned.images), scanned.images.values())
        classes_of[split].update(scanned.images)
        num_skipped += scanned.num_skipped
        for name, paths in scanned.images.items():
            rows += [(name, path.relative_to(root).as_posix(), split) for path in paths]
    classes = _trained_classes(root, classes_of)
    in_train = Counter(name for name, _, split in rows if split == "train")
    require_enough(root, {name: in_train[name] for name in classes}, 1, " in train")
    labels = {name: label for label, name in enumerate(classes)}
    rows.sort()
    files = tuple((path, labels[name]) for name, path, _ in rows)
    notes = (*_notes_of_splits(root, found), *_differ_in_case(classes))
    return ClassFolders(root, classes, files, num_skipped, tuple(split for *_, split in rows), notes)


def require_enough(root: Path, num_images_by_class: Mapping[str, int], min_images: int, where: str = "") -> None:
    """Refuse classes with fewer than `min_images` images, all of them in one message; `where` is said with it.

    Raises:
        DataError: at least one class has too few.
    """
    few = {name: count for name, count in num_images_by_class.items() if count < max(min_images, 1)}
    if few:
        named = ", ".join(f"'{name}' has {count or 'none'}" for name, count in few.items())
        raise DataError(
            f"{root}: every class needs at least {max(min_images, 1)} different usable images{where}, but {named}. "
            "Add images to these folders, or move the folders away."
        )


def _class_folders(root: Path) -> list[Path]:
    if not root.exists():
        raise DataError(f"{root}: there is no such folder. Set data.root to the folder that holds the class folders.")
    if not root.is_dir():
        raise DataError(f"{root}: wanted a folder of class folders, found a file. Set data.root to a folder.")
    try:
        folders = folders_in(root)
    except OSError as error:
        raise DataError(f"{root}: the folder cannot be read ({error.strerror}). Check its permissions.") from error
    for folder in folders:
        if not _is_text(folder.name):
            raise DataError(f"{root}: the folder name {os.fsencode(folder.name)!r} is not UTF-8 text. Rename it.")
    return folders


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_no_classes(root: Path, classes: tuple[str, ...], images: Iterable[list[Path]]) -> None:
    layout = LAYOUT.format(root=root)
    if not classes:
        num_loose = sum(is_image(path) for path in visible(root))
        found = f"{num_loose} images directly in it" if num_loose else "neither folders nor images in it"
        raise DataError(f"{root}: wanted class folders, found {found}. {layout}")
    if len(classes) == 1:
        raise DataError(
            f"{root}: wanted at least two class folders, found only '{classes[0]}'. Where the set is inside of that, "
            f"set data.root to it. {layout}"
        )
    if not any(images):
        raise DataError(f"{root}: its {len(classes)} folders hold no images. {layout}")


def _refuse_loose_images(split_folder: Path) -> None:
    """ImageNet's val comes as 50,000 files without class folders, with the labels in a file of the devkit."""
    here = visible(split_folder)
    loose = [path.name for path in here if path.is_file() and is_image(path)]
    if loose and not any(path.is_dir() for path in here):
        raise DataError(
            f"{split_folder}: wanted one folder a class, found {len(loose)} images directly in it, such as "
            f"{loose[0]}. Move each into a folder of its class, named as in train (for ImageNet's val the well-known "
            "script valprep.sh does so); or move this folder away, or set data.root to "
            f"{split_folder.with_name('train')}: then splits are drawn."
        )


def _trained_classes(root: Path, classes_of: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Return the classes of the training split; refuse others, which nothing could be learned of."""
    trained = classes_of["train"]
    untrained = {name: split for split, names in classes_of.items() for name in sorted(names - trained)}
    if untrained:
        in_another_case = {name_key(name): name for name in trained}
        named = ", ".join(
            f"'{name}' (only in {split}{_as_in_train(in_another_case.get(name_key(name)))})"
            for name, split in list(untrained.items())[:10]
        )
        raise DataError(
            f"{root}: {len(untrained)} classes have no folder in train: {named}. Add them there, or move them away."
        )
    return tuple(sorted(trained))


def _as_in_train(name: str | None) -> str:
    return f"; in train it is '{name}'" if name else ""


def _loose(folder: Path) -> Iterator[str]:
    loose = [path for path in visible(folder) if path.is_file() and is_image(path)]
    if loose:
        yield f"{folder}: {len(loose)} images beside the class folders are left out, such as {loose[0].name}"


def _like_a_split(classes: Iterable[str], layout: FolderLayout) -> Iterator[str]:
    for name in classes if layout == "auto" else ():
        if split_of(name):
            yield f"the folder '{name}' is read as a class, though splits are called so too"


def _differ_in_case(classes: Iterable[str]) -> Iterator[str]:
    for names in alike_but_for_case(classes):
        yield f"{all_quoted(names)} are {len(names)} classes, whose names differ in case alone"


def _notes_of_splits(root: Path, found: SplitFolders) -> Iterator[str]:
    if found.left_out:
        left_out = all_quoted(folder.name for folder in found.left_out)
        yield f"{root}: {left_out} beside the ready-made splits is left out"
    by_split: dict[Split, list[str]] = defaultdict(list)
    for folder, split in found.splits:
        by_split[split].append(folder.name)
        yield from _loose(folder)
    for split, names in by_split.items():
        if len(names) > 1:
            yield f"{root}: {all_quoted(names)} are both read as {split}"
