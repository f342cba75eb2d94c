"""The files and folders below a folder that a person means: nothing hidden, no leavings of archives, no circles."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from eightgig.core.names import composed
from eightgig.data.images.decoding import CODEC_ENDINGS

# Formats that are not read are listed all the same, so that they are reported rather than quietly left out.
IMAGE_ENDINGS = {e for endings in CODEC_ENDINGS.values() for e in endings} | {".tif", ".tiff", ".heic", ".avif"}
_LEAVINGS = "__macosx"  # what macOS puts into a ZIP beside the files: a hidden copy of each


def is_passed_over(name: str) -> bool:
    """Tell whether a file or folder is hidden, or a leaving of macOS's archives."""
    return name.startswith(".") or name.lower() == _LEAVINGS


def visible(folder: Path) -> list[Path]:
    """Return what lies in a folder, in alphabetical order."""
    return sorted(path for path in folder.iterdir() if not is_passed_over(path.name))


def folders_in(folder: Path) -> list[Path]:
    """Return the visible folders directly in a folder; its files, perhaps a million, are not looked at one by one."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry) for entry in entries if not is_passed_over(entry.name) and entry.is_dir())


def is_image(path: Path) -> bool:
    """Tell an image by its ending, in any case."""
    return not path.name.startswith(".") and path.suffix.lower() in IMAGE_ENDINGS


def files_below(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Yield all files at any depth, hidden ones too; `above` identifies the folders that lead here (links may loop)."""
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    for path in sorted(folder.iterdir()):
        if path.is_file():
            yield path
        elif path.is_dir() and not is_passed_over(path.name):
            yield from files_below(path, above | {identity})


def has_images(folder: Path) -> bool:
    """Tell whether an image lies below a folder."""
    return any(is_image(path) for path in files_below(folder))


def as_written(wanted: str, found: Iterable[str]) -> list[str]:
    """Return those of `found`, which differ in form and case alone, that are most like `wanted`; two where two are."""
    listed = list(found)
    if wanted in listed:
        return [wanted]
    return [each for each in listed if composed(each) == composed(wanted)] or listed
