"""The image store: every image of a data set in one HDF5 file or several, read at the speed of the decoder.

`write_store` makes one, `ImageStore` reads it. How the file is laid out is told in `store_format`.
"""

import hashlib
import os
import threading
import zlib
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from eightgig.core.errors import ImageRejectedError, StoreError
from eightgig.data.images.decoding import Pixels, decode_plain_jpeg, decode_rgb
from eightgig.data.images.streaming import Progress, stream_map
from eightgig.data.store.boxes import Boxes
from eightgig.data.store.format import Codec
from eightgig.data.store.masks import Labels, decode_mask
from eightgig.data.store.shards import Part, read_parts
from eightgig.data.store.writer import write_store

__all__ = ["ImageStore", "is_complete", "write_store"]


class ImageStore:
    """The images of a store, by their index 0 to len - 1.

    HDF5 is used only here, to read the index; images are read from the plain file, opened anew in each process. So
    a store can be pickled, forked and shared by threads.

    Examples:
        >>> store = ImageStore("data/05_model_input/flower_classifier/store.h5")
        >>> len(store), store.classes
        (4, ('daisy', 'rose'))
        >>> store.classes[store.labels[0]], store.decode(0).shape
        ('daisy', (48, 64, 3))

    Attributes:
        path: the HDF5 file.
        kind: `classes` (one an image), `boxes`, `masks` or `values` (a class with a number an image).
        tier: `jpeg` or `decoded`.
        classes: names; a label is a position in it.
        labels: int64, N; empty in a store of boxes or masks.
        values: float64, N; empty in a store of anything else.
        max_boxes: most boxes in one image; 0 in a store of classes.
        shapes: int32, N x 2, height and width as `decode` gives them.
        paths: N source paths, relative to the folder they came from.
        sha256: hash of the index, which holds every image's checksum: it names the content.

    Raises:
        StoreError: there is no store, or it is incomplete, damaged or of another kind.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._parts = read_parts(self.path)
        indices = [part.index for part in self._parts]
        self._ends = np.cumsum([len(index.paths) for index in indices])
        self.sha256 = _joined_hash([index.sha256() for index in indices])
        self.kind, self.tier, self.classes = indices[0].kind, indices[0].tier, indices[0].classes
        self.labels: npt.NDArray[np.int64] = np.concatenate([index.labels for index in indices])
        self.values: npt.NDArray[np.float64] = np.concatenate([index.values for index in indices])
        self.shapes: npt.NDArray[np.int32] = np.concatenate([index.shapes for index in indices])
        self.paths = tuple(chain.from_iterable(index.paths for index in indices))
        self.max_boxes = max(int(np.diff(index.box_offsets).max(initial=0)) for index in indices)
        self._readers: dict[Path, _Reader] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}}

    def read_bytes(self, index: int) -> bytes:
        """Return the stored bytes of image `index`: its file as it was, or its pixels in the decoded tier.

        Raises:
            StoreError: they are not the bytes that were stored; names the store, the image and its source.
        """
        part, place = self._locate(index)
        ends = part.index.mask_offsets if self.kind == "masks" else part.index.offsets[1:]
        return self._read(index, int(part.index.offsets[place]), int(ends[place]), int(part.index.crc32[place]))

    def decode(self, index: int) -> Pixels:
        """Return the upright RGB pixels of image `index`, uint8, height x width x 3; not to be written to.

        Raises:
            StoreError: its bytes are damaged.
        """
        data = self.read_bytes(index)
        part, place = self._locate(index)
        codec = part.index.codecs[place]
        height, width = self.shapes[index].tolist()
        if codec == Codec.PIXELS:
            return np.frombuffer(data, np.uint8).reshape(height, width, 3)
        try:
            if codec == Codec.PLAIN_JPEG:
                return decode_plain_jpeg(data)
            return decode_rgb(data, max_pixels=height * width)
        except (ImageRejectedError, ValueError) as error:
            raise self._damaged(index, str(error)) from error

    def boxes(self, index: int) -> Boxes:
        """Return a copy of the boxes of image `index`, in pixels of what `decode` gives.

        Raises:
            StoreError: the store holds classes instead.
        """
        part, place = self._locate(index)
        if self.kind != "boxes":
            held = "one class an image" if self.kind == "classes" else self.kind
            raise StoreError(f"{self.path}: wanted boxes, but this store holds {held}. Ingest boxes.")
        own = slice(*part.index.box_offsets[place : place + 2].tolist())
        return Boxes(part.index.boxes[own].copy(), part.index.box_labels[own].copy())

    def mask(self, index: int) -> Labels:
        """Return the mask of image `index`, uint8, height x width: positions in `classes`, or 255 where it is void.

        Raises:
            StoreError: its bytes are damaged, or the store holds something else.
        """
        part, place = self._locate(index)
        if self.kind != "masks":
            raise StoreError(f"{self.path}: wanted masks, but this store holds {self.kind}. Ingest masks.")
        start, end = int(part.index.mask_offsets[place]), int(part.index.offsets[place + 1])
        png = self._read(index, start, end, int(part.index.mask_crc32[place]))
        height, width = self.shapes[index].tolist()
        try:
            return decode_mask(png, height=height, width=width, num_classes=len(self.classes))
        except ValueError as error:
            raise self._damaged(index, str(error)) from error

    def verify(self, progress: Progress | None = None) -> None:
        """Read every image and compare its checksum.

        Raises:
            StoreError: one is damaged; the first is named.
        """
        for number, _ in enumerate(stream_map(self._check, range(len(self))), start=1):
            if progress:
                progress(number, len(self))

    def _locate(self, index: int) -> tuple[Part, int]:
        """Return the file that holds an image, and the image's place in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: there is no image {index}; it holds 0 to {len(self) - 1}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self._parts[number], int(index - (self._ends[number - 1] if number else 0))

    def _read(self, index: int, start: int, end: int, crc32: int) -> bytes:
        part, _ = self._locate(index)
        data = self._open_reader(part.path).read(part.start + start, end - start)
        if zlib.crc32(data) != crc32:
            raise self._damaged(index, "its bytes do not have the checksum that was stored")
        return data

    def _check(self, index: int) -> None:
        self.read_bytes(index)
        if self.kind == "masks":
            self.mask(index)

    def _open_reader(self, path: Path) -> "_Reader":
        reader = self._readers.get(path)
        if reader is None or reader.process_id != os.getpid():
            reader = self._readers[path] = _Reader(path)
        return reader

    def _damaged(self, index: int, found: str) -> StoreError:
        return StoreError(
            f"{self.path}: image {index} (from {self.paths[index]}) is damaged: {found}. Run the ingest stage again."
        )


class _Reader:
    """Reads at any place of a file, from any thread of one process."""

    def __init__(self, path: Path) -> None:
        self.process_id = os.getpid()
        self._file: IO[bytes] = path.open("rb", buffering=0)
        self._lock = threading.Lock()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def read(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), size, offset)
        with self._lock:  # Windows has no pread
            self._file.seek(offset)
            return self._file.read(size)


def _joined_hash(hashes: list[str]) -> str:
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def is_complete(path: Path | str) -> bool:
    """Tell whether `path` is a whole image store that can be read."""
    try:
        read_parts(Path(path))
    except StoreError:
        return False
    return True
