"""The image store: every picture of a data set in one HDF5 file, read at the speed of the decoder.

`write_store` makes one, `ImageStore` reads it. How the file is laid out is told in `store_format`.
"""

import os
import threading
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import simplejpeg

from eightgig.core.errors import ImageRejectedError, StoreError
from eightgig.data.detection.boxes import Boxes
from eightgig.data.images import Pixels, decode_rgb
from eightgig.data.segmentation.masks import Labels, decode_mask
from eightgig.data.store_format import Codec, read_index
from eightgig.data.store_writer import write_store
from eightgig.data.streaming import Progress, stream_map

__all__ = ["ImageStore", "is_complete", "write_store"]


class ImageStore:
    """The pictures of a store, by their index 0 to len - 1.

    HDF5 is used only here, to read the index; pictures are read from the plain file, opened anew in each process. So
    a store can be pickled, forked and shared by threads.

    Attributes:
        path: the HDF5 file.
        kind: `classes` (one a picture), `boxes` or `masks`.
        tier: `jpeg` or `decoded`.
        classes: names; a label is a position in it.
        labels: int64, N; empty in a store of boxes or masks.
        max_boxes: most boxes in one picture; 0 in a store of classes.
        shapes: int32, N x 2, height and width as `decode` gives them.
        paths: N source paths, relative to the folder they came from.
        sha256: hash of the index, which holds every picture's checksum: it names the content.

    Raises:
        StoreError: there is no store, or it is incomplete, damaged or of another kind.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._index, self._start = read_index(self.path)
        self.sha256 = self._index.sha256()
        self.kind = self._index.kind
        self.tier = self._index.tier
        self.classes = self._index.classes
        self.labels: npt.NDArray[np.int64] = self._index.labels
        self.shapes: npt.NDArray[np.int32] = self._index.shapes
        self.paths = self._index.paths
        self.max_boxes = int(np.diff(self._index.box_offsets).max(initial=0))
        self._reader: _Reader | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}

    def read_bytes(self, index: int) -> bytes:
        """Give the stored bytes of picture `index`: its file as it was, or its pixels in the decoded tier.

        Raises:
            StoreError: they are not the bytes that were stored; names the store, the picture and its source.
        """
        self._require_picture(index)
        ends = self._index.mask_offsets if self.kind == "masks" else self._index.offsets[1:]
        return self._read(index, int(self._index.offsets[index]), int(ends[index]), int(self._index.crc32[index]))

    def decode(self, index: int) -> Pixels:
        """Give the upright RGB pixels of picture `index`, uint8, height x width x 3; not to be written to.

        Raises:
            StoreError: its bytes are damaged.
        """
        data = self.read_bytes(index)
        codec = self._index.codecs[index]
        height, width = self.shapes[index].tolist()
        if codec == Codec.PIXELS:
            return np.frombuffer(data, np.uint8).reshape(height, width, 3)
        try:
            if codec == Codec.PLAIN_JPEG:
                return simplejpeg.decode_jpeg(data, "RGB", strict=True)
            return decode_rgb(data, max_pixels=height * width)
        except (ImageRejectedError, ValueError) as error:
            raise self._damaged(index, str(error)) from error

    def boxes(self, index: int) -> Boxes:
        """Give a copy of the boxes of picture `index`, in pixels of what `decode` gives.

        Raises:
            StoreError: the store holds classes instead.
        """
        self._require_picture(index)
        if self.kind != "boxes":
            raise StoreError(f"{self.path}: wanted boxes, but this store holds one class a picture. Ingest boxes.")
        own = slice(*self._index.box_offsets[index : index + 2].tolist())
        return Boxes(self._index.boxes[own].copy(), self._index.box_labels[own].copy())

    def mask(self, index: int) -> Labels:
        """Give the mask of picture `index`, uint8, height x width: positions in `classes`, or 255 where it is void.

        Raises:
            StoreError: its bytes are damaged, or the store holds something else.
        """
        self._require_picture(index)
        if self.kind != "masks":
            raise StoreError(f"{self.path}: wanted masks, but this store holds {self.kind}. Ingest masks.")
        start, end = int(self._index.mask_offsets[index]), int(self._index.offsets[index + 1])
        png = self._read(index, start, end, int(self._index.mask_crc32[index]))
        height, width = self.shapes[index].tolist()
        try:
            return decode_mask(png, height=height, width=width, num_classes=len(self.classes))
        except ValueError as error:
            raise self._damaged(index, str(error)) from error

    def verify(self, progress: Progress | None = None) -> None:
        """Read every picture and compare its checksum.

        Raises:
            StoreError: one is damaged; the first is named.
        """
        for number, _ in enumerate(stream_map(self._check, range(len(self))), start=1):
            if progress:
                progress(number, len(self))

    def _require_picture(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: there is no picture {index}; it holds 0 to {len(self) - 1}")

    def _read(self, index: int, start: int, end: int, crc32: int) -> bytes:
        data = self._open_reader().read(self._start + start, end - start)
        if zlib.crc32(data) != crc32:
            raise self._damaged(index, "its bytes do not have the checksum that was stored")
        return data

    def _check(self, index: int) -> None:
        self.read_bytes(index)
        if self.kind == "masks":
            self.mask(index)

    def _open_reader(self) -> "_Reader":
        if self._reader is None or self._reader.process_id != os.getpid():
            self._reader = _Reader(self.path)
        return self._reader

    def _damaged(self, index: int, found: str) -> StoreError:
        return StoreError(
            f"{self.path}: picture {index} (from {self.paths[index]}) is damaged: {found}. Run the ingest stage again."
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


def is_complete(path: Path | str) -> bool:
    """Tell whether `path` is a whole image store that can be read."""
    try:
        read_index(Path(path))
    except StoreError:
        return False
    return True
