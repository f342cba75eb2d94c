"""The files below a folder, listed once; names that labels use are looked up in this list and never on the disk."""

import os
import posixpath
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from eightgig.core.errors import DataError
from eightgig.core.names import name_key
from eightgig.data.ingest.walking import IMAGE_ENDINGS, as_written, is_passed_over
from eightgig.tasks.detection.image_index import ImageIndex, Match


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
    def images(self) -> tuple[str, ...]:
        """The files that are images by their ending."""
        return tuple(file for file in self.files if posixpath.splitext(file)[1].lower() in IMAGE_ENDINGS)

    @cached_property
    def _index(self) -> ImageIndex:
        return ImageIndex(self.images)

    @cached_property
    def _files_by_key(self) -> dict[str, list[str]]:
        by_key: dict[str, list[str]] = defaultdict(list)
        for file in self.files:
            by_key[name_key(file)].append(file)
        return by_key

    @cached_property
    def _folders_by_key(self) -> dict[str, list[str]]:
        by_key: dict[str, list[str]] = defaultdict(list)
        for folder in sorted(self.folders):
            by_key[name_key(folder)].append(folder)
        return by_key

    def below(self, folder: str) -> tuple[str, ...]:
        """Return the images below `folder`, at any depth."""
        return tuple(path for path in self.images if not folder or path.startswith(f"{folder}/"))

    def relative(self, path: Path | str) -> str | None:
        """Return an absolute path relative to the root, or None where it is not below it; the disk is not asked."""
        try:
            inside = Path(os.path.normpath(path)).relative_to(self.root).as_posix()
        except ValueError:
            return None
        return "" if inside == "." else inside

    def shown(self, path: Path) -> str:
        """Return a file's name for a person: relative to the root where it lies below it."""
        return self.relative(path) or str(path)

    def match(self, name: str, *, beside: str, split: str = "") -> Match:
        """Return the images that a label may mean by `name`, as `ImageIndex.match` does."""
        return self._index.match(name, beside=beside, split=split)

    def same_file(self, path: str) -> list[str]:
        """Return the files of this path in any case and form of Unicode: the one most like it, or several."""
        return as_written(path, self._files_by_key.get(name_key(path), ()))

    def same_folder(self, path: str) -> list[str]:
        """Return the folders of this path, likewise."""
        return as_written(path, self._folders_by_key.get(name_key(path), ()))


def list_files(root: Path) -> Listing:
    """Return the files below `root`, hidden ones left out. Links are followed, unless they lead back to a folder above.

    Raises:
        DataError: there is no such folder, or it cannot be read.
    """
    root = Path(os.path.normpath(root.absolute()))
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing there"
        raise DataError(f"{root}: wanted a folder of images and labels, found {found}. Set data.root to the folder.")
    try:
        files = sorted(path.relative_to(root).as_posix() for path in _files_below(root))
    except OSError as error:
        raise DataError(f"{root}: the folder cannot be read ({error}). Check its permissions.") from error
    return Listing(root, tuple(files))


def _files_below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield the files; `above` holds the real folders that lead here, so that links cannot loop."""
    real = folder.resolve()
    if real in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_passed_over(entry.name):
                continue
            if entry.is_dir():
                yield from _files_below(Path(entry), above | {real})
            else:
                yield Path(entry)
