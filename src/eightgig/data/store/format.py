"""How an image store lies in its HDF5 file, and the checks that a file is one.

    attributes  format, version, tier ("jpeg" | "decoded"), index_sha256, complete (set last)
    jpeg        uint8, all files one after another          (tier jpeg)
    pixels      uint8, N x side x side x 3                  (tier decoded)
    offsets     int64, N + 1: image i is bytes offsets[i] to offsets[i + 1] of jpeg or pixels
    labels      int64, N: a position in classes             (versions 1 and 4)
    values      float64, N: a number of the class, such as an age     (version 4)
    box_offsets int64, N + 1: image i has boxes box_offsets[i] to box_offsets[i + 1]    (version 2, as the next two)
    boxes       float32, M x 4: left, top, right, bottom in pixels of the stored image
    box_labels  int64, M: a position in classes
    mask_offsets int64, N: the mask of image i is bytes mask_offsets[i] to offsets[i + 1] (version 3, as the next one)
    mask_crc32  uint32, N: of each mask's bytes, a PNG with one byte a pixel: a position in classes, or 255 (void)
    shapes      int32, N x 2: height, width, upright
    codecs      uint8, N: how the bytes decode, see `Codec`
    crc32       uint32, N: of each image's bytes
    classes     text
    paths       text, N: relative to the folder the images came from

Images have either one class each (version 1), boxes (version 2), masks (version 3) or a class and a number (version 4),
so a store of classes has the layout and the checksum that it had before there were others.

The image data are one contiguous block without chunks or filters, so a reader needs HDF5 only for the index.
"""

import enum
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from eightgig.core.errors import StoreError
from eightgig.data.store.files import text_attribute
from eightgig.data.store.foreign import FAULTS, open_foreign, plain_dataset

Kind = Literal["classes", "boxes", "masks", "values"]
"""What is known of each image."""

FORMAT = "eightgig-images"
VERSIONS: dict[Kind, int] = {"classes": 1, "boxes": 2, "masks": 3, "values": 4}
BLOCK_NAMES = {"jpeg": "jpeg", "decoded": "pixels"}
TEXTS = ("classes", "paths")
_COMMON = {"shapes": "<i4", "codecs": "u1", "crc32": "<u4"}
DTYPES: dict[Kind, dict[str, str]] = {
    "classes": {"offsets": "<i8", "labels": "<i8", **_COMMON},
    "boxes": {"offsets": "<i8", **_COMMON, "box_offsets": "<i8", "boxes": "<f4", "box_labels": "<i8"},
    "masks": {"offsets": "<i8", **_COMMON, "mask_offsets": "<i8", "mask_crc32": "<u4"},
    "values": {"offsets": "<i8", "labels": "<i8", "values": "<f8", **_COMMON},
}
_ROW_WIDTHS = {"shapes": 2, "boxes": 4}


class Codec(enum.IntEnum):
    """How an image's bytes become pixels."""

    PLAIN_JPEG = 0
    """An upright grey or colour JPEG: the JPEG decoder alone is right."""
    FILE = 1
    """Any other image file, as it was: `images.decode_rgb` knows its ways."""
    PIXELS = 2
    """Height x width x 3 bytes, not encoded."""


@dataclass(frozen=True)
class Index:
    """Everything about a store's images except their bytes; what other kinds have is empty."""

    kind: Kind
    tier: str
    offsets: npt.NDArray[np.int64]
    shapes: npt.NDArray[np.int32]
    codecs: npt.NDArray[np.uint8]
    crc32: npt.NDArray[np.uint32]
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    values: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0, np.float64))
    box_offsets: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    boxes: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    box_labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    mask_offsets: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    mask_crc32: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))

    def sha256(self) -> str:
        """Return the hash of the index; as it holds every image's checksum, it names the whole content."""
        version = VERSIONS[self.kind]
        digest = hashlib.sha256(json.dumps([FORMAT, version, self.tier, self.classes, self.paths]).encode())
        for name, dtype in DTYPES[self.kind].items():
            digest.update(np.ascontiguousarray(getattr(self, name), dtype=dtype).data)
        return digest.hexdigest()


def read_index(path: Path) -> tuple[Index, int]:
    """Return the checked index of the store at `path` and where in the file its block of images begins.

    Raises:
        StoreError: there is no file, or it is not a store of this format, incomplete or damaged.
    """
    if not path.is_file():
        raise StoreError(f"{path}: there is no image store. Run the ingest stage to make it.")
    try:
        with open_foreign(path) as file:
            return _read_checked(file, path)
    except FAULTS as error:
        raise StoreError(
            f"{path}: wanted an image store, but it cannot be read as one ({error}). Run the ingest stage again."
        ) from error


def _read_checked(file: h5py.File, path: Path) -> tuple[Index, int]:
    kind = _require_header(file, path)
    tier = text_attribute(file, "tier")
    block = plain_dataset(file, BLOCK_NAMES[tier], ("u1",))
    values: dict[str, Any] = {name: _column(file, name, dtype)[...] for name, dtype in DTYPES[kind].items()}
    texts: dict[str, Any] = {name: _texts(file, name) for name in TEXTS}
    index = Index(kind=kind, tier=tier, **values, **texts)
    _require_agreement(index, block, path)
    if index.sha256() != text_attribute(file, "index_sha256"):
        raise _damaged(path, "its index does not have the checksum that was stored")
    return index, block.id.get_offset()


def _require_header(file: h5py.File, path: Path) -> Kind:
    if text_attribute(file, "format") != FORMAT:
        raise StoreError(f"{path}: an HDF5 file, but not an image store of this project. Run the ingest stage.")
    kinds = [kind for kind, version in VERSIONS.items() if version == file.attrs["version"]]
    if not kinds:
        known = ", ".join(map(str, VERSIONS.values()))
        raise StoreError(f"{path}: format version {file.attrs['version']}, this project reads {known}. Ingest again.")
    if not file.attrs["complete"]:
        raise StoreError(f"{path}: its writing was not finished. Run the ingest stage again.")
    return kinds[0]


def _column(file: h5py.File, name: str, dtype: str) -> h5py.Dataset:
    """Return one of the index's columns, of the type and shape that it must have."""
    dataset = plain_dataset(file, name, (dtype,))
    if dataset.ndim != 1 + (name in _ROW_WIDTHS) or dataset.shape[1:] not in ((), (_ROW_WIDTHS.get(name),)):
        raise ValueError(f"'{name}' has shape {dataset.shape}")
    return dataset


def _texts(file: h5py.File, name: str) -> tuple[str, ...]:
    dataset = plain_dataset(file, name)
    if dataset.ndim != 1:
        raise ValueError(f"'{name}' has shape {dataset.shape}")
    return tuple(dataset.asstr()[...].tolist())


def _require_agreement(index: Index, block: h5py.Dataset, path: Path) -> None:
    _require_equal_lengths(index, path)
    start = block.id.get_offset()
    if start is None or start + block.nbytes > path.stat().st_size:
        raise _damaged(path, "the images' bytes reach past the end of the file")
    if not _rise(index.offsets, block.nbytes) or (index.offsets[1:] == index.offsets[:-1]).any():
        raise _damaged(path, "its offsets do not rise from 0 to the number of bytes")
    labels = index.box_labels if index.kind == "boxes" else index.labels
    if len(labels) and (labels.min() < 0 or labels.max() >= len(index.classes)):
        found = labels[(labels < 0) | (labels >= len(index.classes))][0]
        raise _damaged(path, f"labels must be 0 to {len(index.classes) - 1}, found {found}")
    if not np.isfinite(index.values).all():
        raise _damaged(path, f"the value of image {int(np.argmin(np.isfinite(index.values)))} is not a number")
    if index.kind == "boxes":
        _require_boxes_inside(index, path)
    if index.kind == "masks":
        _require_masks_behind(index, path)


def _require_equal_lengths(index: Index, path: Path) -> None:
    lengths = {name: len(getattr(index, name)) for name in ("paths", *DTYPES[index.kind])}
    num_boxes = {name: lengths.pop(name) for name in ("boxes", "box_labels") if name in lengths}
    for name in lengths.keys() & {"offsets", "box_offsets"}:
        lengths[name] -= 1
    if set(lengths.values()) != {len(index.paths)} or not index.paths:
        raise _damaged(path, f"its columns differ in length: {lengths}")
    if len(set(num_boxes.values())) > 1:
        raise _damaged(path, f"its columns differ in length: {num_boxes}")


def _require_boxes_inside(index: Index, path: Path) -> None:
    if not _rise(index.box_offsets, len(index.boxes)):
        raise _damaged(path, "its box_offsets do not rise from 0 to the number of boxes")
    images_M = np.repeat(np.arange(len(index.paths)), np.diff(index.box_offsets))
    left, top, right, bottom = index.boxes.T
    height, width = index.shapes[images_M].T
    right_way = (left >= 0) & (left < right) & (right <= width) & (top >= 0) & (top < bottom) & (bottom <= height)
    if not right_way.all():  # comparisons with NaN are false
        first = int(np.argmin(right_way))
        found = f"box {index.boxes[first].tolist()} of image {images_M[first]} is not a box inside it"
        raise _damaged(path, found)


def _require_masks_behind(index: Index, path: Path) -> None:
    behind = (index.offsets[:-1] < index.mask_offsets) & (index.mask_offsets < index.offsets[1:])
    if not behind.all():
        raise _damaged(path, f"the mask of image {int(np.argmin(behind))} does not lie behind its image")


def _rise(offsets: npt.NDArray[np.int64], end: int) -> bool:
    """Tell whether offsets go from 0 to `end` without a step down; compared, as differences could overflow."""
    return bool(offsets[0] == 0 and offsets[-1] == end and (offsets[1:] >= offsets[:-1]).all())


def _damaged(path: Path, found: str) -> StoreError:
    return StoreError(f"{path}: the image store is damaged: {found}. Run the ingest stage again.")
