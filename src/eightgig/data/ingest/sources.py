"""Where images come from: drawn by code, a folder of the user's, or a public data set."""

import shutil
from pathlib import Path
from typing import Protocol

from eightgig.core.progress import track
from eightgig.core.records import Record
from eightgig.data.images.parameters import DataParameters


class RawImages(Record):
    """Class folders (or a public set's own layout) on disk, as the stages after this find them.

    Attributes:
        source: `rendered`, `folder` or `oxford102`.
        root: absolute path of the folder.
        origin: what the images are, for a person.
    """

    source: str
    root: str
    origin: str


class Source(Protocol):
    """Something that images come from."""

    def materialise(self, folder: Path) -> RawImages:
        """Bring the images to disk, in `folder` where they are not there yet, and say where they are."""


def open_source(parameters: DataParameters) -> Source:
    """Return the source that the parameters name."""
    if parameters.source == "oxford102":
        return _Oxford102(parameters)
    if parameters.source == "folder":
        return UserFolder(parameters.root or "", "class folders")
    return _Rendered(parameters)


class _Rendered:
    def __init__(self, parameters: DataParameters) -> None:
        self._parameters = parameters

    def materialise(self, folder: Path) -> RawImages:
        """Draw all images anew; the last drawing is replaced only when the new one is whole."""
        from eightgig.data.samples.flowers import render_flowers

        target, unfinished = folder / "rendered", folder / ".rendered.tmp"
        shutil.rmtree(unfinished, ignore_errors=True)
        number, seed, view = self._parameters.num_images, self._parameters.seed, self._parameters.view
        flowers = render_flowers(number, seed=seed, view=view)
        for name, jpeg in track(flowers, "drawing flowers", total=number):
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg)
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
        return RawImages(
            source="rendered",
            root=str(target.resolve()),
            origin=f"{number} flowers drawn by code ({view}), seed {seed}",
        )


class UserFolder:
    """A folder of the user's.

    Args:
        root: its path.
        what: it holds, for a person.
    """

    def __init__(self, root: str, what: str) -> None:
        self._root, self._what = root, what

    def materialise(self, folder: Path) -> RawImages:  # noqa: ARG002 - the images stay where they are
        """Name the user's folder: it is read, never written to or copied."""
        root = Path(self._root).expanduser().resolve()
        return RawImages(source="folder", root=str(root), origin=f"{self._what} in {root.name}")


class _Oxford102:
    def __init__(self, parameters: DataParameters) -> None:
        self._parameters = parameters

    def materialise(self, folder: Path) -> RawImages:
        """Download the set by torchvision unless it is there."""
        from eightgig.data.ingest.oxford102 import read_oxford102

        root = Path(self._parameters.root).expanduser() if self._parameters.root else folder / "oxford102"
        read_oxford102(root, allow_download=self._parameters.allow_download)
        return RawImages(source="oxford102", root=str(root.resolve()), origin="Oxford 102 Flowers (VGG, 2008)")
