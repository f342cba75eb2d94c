"""The files below a folder, listed once; names that labels use are looked up in this list and never on the disk."""

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from eightgig.core.errors import DataError
from eightgig.data.walking import PICTURE_ENDINGS

_SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_MASK_FOLDERS = ("segmentationclass", "segmentationobject")
_PICTURE_FOLDERS = ("images", "jpegimages")


@dataclass(frozen=True)
class Listing:
    """All files below a folder, except hidden ones.

    Attributes:
        root: the folder, absolute.
        files: relative to it with forward slashes, sorted.
    """

    root: Path
    files: tuple[str, ...]

    @cached_property
    def file_set(self) -> frozenset[str]:
        """The files, for looking one up."""
        return frozenset(self.files)

    @cached_property
    def folders(self) -> frozenset[str]:
        """All folders that hold files at any depth; the root is the empty text."""
        above = {folder for file in self.files for folder in PurePosixPath(file).parents}
        return frozenset("" if str(folder) == "." else str(folder) for folder in above)

    @cached_property
    def pictures(self) -> tuple[str, ...]:
        """The files that are pictures by their ending."""
        return tuple(file for file in self.files if posixpath.splitext(file)[1].lower() in PICTURE_ENDINGS)

    @cached_property
    def _picture_set(self) -> frozenset[str]:
        return frozenset(self.pictures)

    @cached_property
    def _pictures_by_name(self) -> dict[str, list[str]]:
        by_name: dict[str, list[str]] = defaultdict(list)
        for path in self.pictures:
            if any(part.lower() in _MASK_FOLDERS for part in path.split("/")[:-1]):
                continue
            name = posixpath.basename(path)
            by_name[name].append(path)
            by_name[posixpath.splitext(name)[0]].append(path)
        return by_name

    def below(self, folder: str) -> tuple[str, ...]:
        """Give the pictures below `folder`, at any depth."""
        return tuple(path for path in self.pictures if not folder or path.startswith(f"{folder}/"))

    def relative(self, path: Path | str) -> str | None:
        """Give an absolute path relative to the root, or None where it is not below it; the disk is not asked."""
        try:
            inside = Path(os.path.normpath(path)).relative_to(self.root).as_posix()
        except ValueError:
            return None
        return "" if inside == "." else inside

    def shown(self, path: Path) -> str:
        """Give a file's name for a person: relative to the root where it lies below it."""
        return self.relative(path) or str(path)

    def find(self, name: str, *, beside: str, split: str = "") -> list[str]:
        """Give the pictures that a label may mean by `name`: one, none, or several that cannot be told apart.

        First as a path, then by its last part with and without the ending. Of several, those in the label's own
        folder come first, then those in a folder of its split, then those in a folder of pictures. VOC's masks,
        which have the same names, are passed over.

        Args:
            name: a path or a name, as it stands in the label.
            beside: the label's folder, relative to the root.
            split: ready-made split of the label, if known.
        """
        name = name.strip().replace("\\", "/")
        for path in (posixpath.normpath(posixpath.join(beside, name)), posixpath.normpath(name)):
            if path in self._picture_set:
                return [path]
        stem, ending = posixpath.splitext(posixpath.basename(name))
        found = self._pictures_by_name.get(stem + ending) or self._pictures_by_name.get(stem) or []
        return _narrowed(
            found,
            lambda path: posixpath.dirname(path) == beside,
            lambda path: bool(split) and split_of_folder(path) == split,
            lambda path: any(part.lower() in _PICTURE_FOLDERS for part in path.split("/")[:-1]),
        )


def list_files(root: Path) -> Listing:
    """Give the files below `root`, hidden ones left out. Links are followed, unless they lead back to a folder above.

    Raises:
        DataError: there is no such folder, or it cannot be read.
    """
    root = Path(os.path.normpath(root.absolute()))
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing there"
        raise DataError(f"{root}: wanted a folder of pictures and labels, found {found}. Set data.root to the folder.")
    try:
        files = sorted(path.relative_to(root).as_posix() for path in _files_below(root))
    except OSError as error:
        raise DataError(f"{root}: the folder cannot be read ({error}). Check its permissions.") from error
    return Listing(root, tuple(files))


def split_of_name(name: str) -> str:
    """Give the split that a file's name speaks of (`instances_train2017.json`: train), or an empty text."""
    found = {_SPLIT_WORDS[word] for word in re.findall("[a-z]+", name.lower()) if word in _SPLIT_WORDS}
    return found.pop() if len(found) == 1 else ""


def split_of_folder(path: str) -> str:
    """Give the split of the nearest folder above `path` that is named for one, or an empty text."""
    for part in reversed(path.split("/")[:-1]):
        word = re.sub("[^a-z]", "", part.lower())
        if word in _SPLIT_WORDS:
            return _SPLIT_WORDS[word]
    return ""


def _narrowed(paths: list[str], *preferences: Callable[[str], bool]) -> list[str]:
    for preferred in preferences:
        if len(paths) > 1:
            paths = [path for path in paths if preferred(path)] or paths
    return paths


def _files_below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Give the files; `above` holds the real folders that lead here, so that links cannot loop."""
    real = folder.resolve()
    if real in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                yield from _files_below(Path(entry), above | {real})
            else:
                yield Path(entry)
