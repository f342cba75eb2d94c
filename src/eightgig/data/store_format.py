"""How an image store lies in its HDF5 file, and the checks that a file is one.

    attributes  format, version, tier ("jpeg" | "decoded"), index_sha256, complete (set last)
    jpeg        uint8, all files one after another          (tier jpeg)
    pixels      uint8, N x side x side x 3                  (tier decoded)
    offsets     int64, N + 1: picture i is bytes offsets[i] to offsets[i + 1] of jpeg or pixels
    labels      int64, N: a position in classes
    shapes      int32, N x 2: height, width, upright
    codecs      uint8, N: how the bytes decode, see `Codec`
    crc32       uint32, N: of each picture's bytes
    classes     text
    paths       text, N: relative to the folder the pictures came from

The picture data are one contiguous block without chunks or filters, so a reader needs HDF5 only for the index.
"""

import enum
import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from eightgig.core.errors import StoreError

FORMAT = "eightgig-images"
VERSION = 1
BLOCK_NAMES = {"jpeg": "jpeg", "decoded": "pixels"}
TEXTS = ("classes", "paths")
DTYPES = {"offsets": "<i8", "labels": "<i8", "shapes": "<i4", "codecs": "u1", "crc32": "<u4"}


class Codec(enum.IntEnum):
    """How a picture's bytes become pixels."""

    PLAIN_JPEG = 0
    """An upright grey or colour JPEG: the JPEG decoder alone is right."""
    FILE = 1
    """Any other picture file, as it was: `images.decode_rgb` knows its ways."""
    PIXELS = 2
    """Height x width x 3 bytes, not encoded."""


@dataclass(frozen=True)
class Index:
    """Everything about a store's pictures except their bytes."""

    tier: str
    offsets: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    shapes: npt.NDArray[np.int32]
    codecs: npt.NDArray[np.uint8]
    crc32: npt.NDArray[np.uint32]
    classes: tuple[str, ...]
    paths: tuple[str, ...]

    def sha256(self) -> str:
        """Give the hash of the index; as it holds every picture's checksum, it names the whole content."""
        digest = hashlib.sha256(json.dumps([FORMAT, VERSION, self.tier, self.classes, self.paths]).encode())
        for name, dtype in DTYPES.items():
            digest.update(np.ascontiguousarray(getattr(self, name), dtype=dtype).data)
        return digest.hexdigest()


def read_index(path: Path) -> tuple[Index, int]:
    """Give the checked index of the store at `path` and where in the file its block of pictures begins.

    Raises:
        StoreError: there is no file, or it is not a store of this format, incomplete or damaged.
    """
    if not path.is_file():
        raise StoreError(f"{path}: there is no image store. Run the ingest stage to make it.")
    try:
        with h5py.File(path, "r") as file:
            return _read_checked(file, path)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{path}: wanted an image store, but it cannot be read as one ({error}). Run the ingest stage again."
        ) from error


def _read_checked(file: h5py.File, path: Path) -> tuple[Index, int]:
    _require_header(file, path)
    tier = str(file.attrs["tier"])
    block = _plain_dataset(file, BLOCK_NAMES[tier], path)
    arrays = {name: _plain_dataset(file, name, path) for name in (*DTYPES, *TEXTS)}
    values: dict[str, Any] = {name: arrays[name][...] for name in DTYPES}
    texts: dict[str, Any] = {name: tuple(arrays[name].asstr()[...].tolist()) for name in TEXTS}
    index = Index(tier=tier, **values, **texts)
    _require_agreement(index, block, path)
    if index.sha256() != file.attrs["index_sha256"]:
        raise _damaged(path, "its index does not have the checksum that was stored")
    return index, block.id.get_offset()


def _require_header(file: h5py.File, path: Path) -> None:
    if file.attrs.get("format") != FORMAT:
        raise StoreError(f"{path}: an HDF5 file, but not an image store of this project. Run the ingest stage.")
    if file.attrs["version"] != VERSION:
        raise StoreError(f"{path}: format version {file.attrs['version']}, this project reads {VERSION}. Ingest again.")
    if not file.attrs["complete"]:
        raise StoreError(f"{path}: its writing was not finished. Run the ingest stage again.")


def _plain_dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """Give a dataset whose bytes lie in this very file, no more of them than it is long."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise _damaged(path, f"'{name}' is missing or is a link to elsewhere")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external or dataset.chunks:
        raise _damaged(path, f"'{name}' is not stored as one block inside the file")
    if dataset.nbytes > path.stat().st_size:
        raise _damaged(path, f"'{name}' declares {dataset.nbytes} bytes, the file has {path.stat().st_size}")
    if name not in TEXTS and dataset.dtype != np.dtype(DTYPES.get(name, "u1")):
        raise _damaged(path, f"'{name}' has type {dataset.dtype}")
    return dataset


def _require_agreement(index: Index, block: h5py.Dataset, path: Path) -> None:
    num_images = len(index.labels)
    lengths = {field.name: len(getattr(index, field.name)) for field in fields(Index) if field.name != "tier"}
    del lengths["classes"]
    lengths["offsets"] -= 1
    if num_images == 0 or set(lengths.values()) != {num_images}:
        raise _damaged(path, f"its columns differ in length: {lengths}")
    start = block.id.get_offset()
    if start is None or start + block.nbytes > path.stat().st_size:
        raise _damaged(path, "the pictures' bytes reach past the end of the file")
    if index.offsets[0] != 0 or index.offsets[-1] != block.nbytes or (np.diff(index.offsets) <= 0).any():
        raise _damaged(path, "its offsets do not rise from 0 to the number of bytes")
    if index.labels.min() < 0 or index.labels.max() >= len(index.classes):
        raise _damaged(path, f"labels must be 0 to {len(index.classes) - 1}, found {index.labels.max()}")


def _damaged(path: Path, found: str) -> StoreError:
    return StoreError(f"{path}: the image store is damaged: {found}. Run the ingest stage again.")
