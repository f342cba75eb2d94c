"""A store in several files that are read as one: the list of them, and the check that they are the ones it lists.

attributes  format, version, complete, list_sha256
shards      text: paths of the files, relative to the list's folder
sha256      text: hash of each file's index, which holds every image's checksum
"""

import hashlib
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eightgig.core.errors import StoreError
from eightgig.data.store.files import HDF5Output, fixed_texts, text_attribute
from eightgig.data.store.foreign import FAULTS, open_foreign, plain_dataset
from eightgig.data.store.format import Index, read_index

SHARDS_FORMAT, SHARDS_VERSION = "eightgig-image-shards", 1
_NAME = re.compile(r"store-[0-9a-f]{12}/\d{5}\.h5")
_TEXTS = ("shards", "sha256")


@dataclass(frozen=True)
class Part:
    """One file with images: its index, and where in it its block of images begins."""

    path: Path
    index: Index
    start: int


def shards_folder(path: Path, recipe: str) -> str:
    """Return the name of the folder beside a store in which its shards lie."""
    return f"store-{hashlib.sha256(f'{path.name}{recipe}'.encode()).hexdigest()[:12]}"


def read_parts(path: Path) -> list[Part]:
    """Return the checked parts of the store at `path`: itself, or the files that it lists.

    Raises:
        StoreError: there is no store, or it or one of its files is missing, incomplete, exchanged or damaged.
    """
    listed = listed_shards(path)
    if listed is None:
        return [Part(path, *read_index(path))]
    parts = []
    for name, sha256 in listed:
        shard = path.parent / name
        if not shard.is_file():
            raise StoreError(f"{path}: its part {name} is missing. Run the ingest stage again.")
        part = Part(shard, *read_index(shard))
        if part.index.sha256() != sha256:
            raise StoreError(f"{path}: its part {name} is not the one that it lists. Run the ingest stage again.")
        parts.append(part)
    first = parts[0].index
    if any(
        (part.index.kind, part.index.tier, part.index.classes) != (first.kind, first.tier, first.classes)
        for part in parts
    ):
        raise StoreError(f"{path}: its parts hold different kinds of images. Run the ingest stage again.")
    return parts


def cut_into_shards(sizes_N: npt.NDArray[np.int64], shard_bytes: int | None) -> list[tuple[int, int]]:
    """Return each shard's first row and the one behind its last; it has a row at least, else at most `shard_bytes`."""
    if shard_bytes is None:
        return [(0, len(sizes_N))]
    firsts, held = [0], 0
    for row, size in enumerate(sizes_N.tolist()):
        if held + size > shard_bytes and row > firsts[-1]:
            firsts.append(row)
            held = 0
        held += size
    return list(zip(firsts, [*firsts[1:], len(sizes_N)], strict=True))


def is_sound(shard: Path, sha256: str | None = None) -> bool:
    """Tell whether a shard is whole, every image and mask has its checksum, and its index has `sha256`, if given."""
    try:
        index, start = read_index(shard)
    except StoreError:
        return False
    if sha256 not in (None, index.sha256()):
        return False
    starts, ends, crc32 = index.offsets[:-1], index.offsets[1:], index.crc32
    if index.kind == "masks":
        starts, ends = np.c_[starts, index.mask_offsets].ravel(), np.c_[index.mask_offsets, ends].ravel()
        crc32 = np.c_[crc32, index.mask_crc32].ravel()
    with shard.open("rb") as file:
        file.seek(start)
        return all(
            zlib.crc32(file.read(size)) == wanted
            for size, wanted in zip((ends - starts).tolist(), crc32.tolist(), strict=True)
        )


def write_list(path: Path, names: Sequence[str], hashes: Sequence[str]) -> None:
    """Write the list of shards."""
    with HDF5Output(path) as file:
        for name, texts in zip(_TEXTS, (names, hashes), strict=True):
            file.create_dataset(name, data=fixed_texts(texts))
        file.set_texts(format=SHARDS_FORMAT, list_sha256=_hash(names, hashes))
        file.attrs.update({"version": SHARDS_VERSION, "complete": True})


def listed_shards(path: Path) -> list[tuple[str, str]] | None:
    """Return names and hashes of the files that a store consists of; None where the file is no list, or none at all.

    Raises:
        StoreError: the list is damaged.
    """
    try:
        with open_foreign(path) as file:
            if text_attribute(file, "format") != SHARDS_FORMAT:
                return None
            names, hashes = (plain_dataset(file, name).asstr()[...].tolist() for name in _TEXTS)
            intact = file.attrs.get("complete") and text_attribute(file, "list_sha256") == _hash(names, hashes)
            intact = intact and len(names) == len(hashes)
    except FAULTS:
        return None  # `read_index` says what is wrong with it
    if not intact or not names or not all(_NAME.fullmatch(name) for name in names):
        raise StoreError(f"{path}: the list of its parts is damaged. Run the ingest stage again.")
    return list(zip(names, hashes, strict=True))


def _hash(names: Sequence[str], hashes: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([list(names), list(hashes)]).encode()).hexdigest()
