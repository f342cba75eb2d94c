"""Writing an image store: HDF5 lays the file out, plain writes fill it, and it gets its name last.

HDF5 crashes the interpreter at exit when a disk fills up under it. So it only writes the small index, after the space
was checked; the pictures' bytes are written by Python, where a full disk is an ordinary error.
"""

import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import simplejpeg

from eightgig.core.errors import ImageRejectedError, StoreError
from eightgig.core.units import MIB, format_bytes
from eightgig.data.atomic import exclusive_replacement
from eightgig.data.detection.boxes import ragged_boxes
from eightgig.data.images import Pixels, decode_rgb, is_plain_jpeg
from eightgig.data.segmentation.masks import Labels, encode_mask, resize_mask
from eightgig.data.store_format import BLOCK_NAMES, DTYPES, FORMAT, TEXTS, VERSIONS, Codec, Index
from eightgig.data.streaming import Progress, stream_map

Tier = Literal["jpeg", "decoded"]
ReadMask = Callable[[str], Labels]
"""From a mask's path, as the manifest has it, to its labels; StoreError where it changed since it was inspected."""
_LIBVER = ("v110", "v110")
_JPEG_QUALITY = 90
_UNKNOWN_SHA256 = "0" * 64


@dataclass(frozen=True)
class _Source:
    """One picture to store."""

    path: Path
    codec: str
    height: int
    width: int
    byte_count: int
    mask_path: str = ""


@dataclass(frozen=True)
class _Payload:
    """What is stored for one picture."""

    data: bytes
    codec: Codec
    mask: bytes = b""


def write_store(
    path: Path,
    manifest: pd.DataFrame,
    root: Path,
    classes: Sequence[str],
    *,
    short_side: int | None = None,
    tier: Tier = "jpeg",
    decoded_side: int = 320,
    boxes: pd.DataFrame | None = None,
    masks: ReadMask | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the pictures of `manifest` (rows in order; paths relative to `root`) into the store at `path`.

    Memory does not grow with the number of pictures. `path` appears only when the store is whole; until then, and
    after a failure, what was there before stays.

    Args:
        path: the HDF5 file to make or replace.
        manifest: as from `build_manifest`, or with `boxes` as from `build_detection_manifest`.
        root: the folder that the manifest's paths are relative to.
        classes: names; the manifest's labels are positions in it.
        short_side: pictures with a longer short side, in pixels, are stored smaller, as JPEG; None changes none.
        tier: `jpeg` stores the files' own bytes; `decoded` stores pixels: the short side resized to `decoded_side`,
            the middle square of it.
        decoded_side: side of the decoded tier's pictures, in pixels.
        boxes: instead of a label for each picture, as from `build_detection_manifest`; their `index` is a label of the
            manifest's index. They are scaled with their picture. Tier `jpeg` only.
        masks: instead of a label for each picture: gives the labels of one `mask_path` of the manifest, as from
            `build_mask_manifest`. Masks are scaled with their picture. Tier `jpeg` only.
        progress: told (done, all) after each picture.

    Raises:
        StoreError: no pictures, boxes in the decoded tier, a picture changed since ingest, another process is writing,
            or space is short.
    """
    if manifest.empty:
        raise StoreError(f"{path}: there are no pictures to store. Look at the rejects.")
    if (boxes is not None or masks is not None) and tier == "decoded":
        held = "boxes" if masks is None else "masks"
        raise StoreError(f"{path}: the decoded tier cuts pictures square, so it holds no {held}. Use tier 'jpeg'.")
    rules = _choose_rules(tier, short_side, decoded_side)
    if masks is not None:
        rules = _with_masks(rules, masks)
    sources = _sources(manifest, root)
    with exclusive_replacement(path) as temporary:
        index = _plan_index(manifest, sources, tuple(classes), rules, boxes, holds_masks=masks is not None)
        _require_space(path, temporary, index)
        try:
            start = _lay_out(temporary, index)
            index = _fill(temporary, start, index, _payloads(sources, rules, index), progress)
        except OSError as error:
            raise StoreError(
                f"{path}: writing failed after the space was checked ({error.strerror or error}); nothing was left "
                f"there. The store needs {format_bytes(int(index.offsets[-1]))}: free some space in {path.parent}."
            ) from error
        _seal(temporary, index)


@dataclass(frozen=True)
class _Rules:
    """How a picture is stored, and what shape (height, width) it then has."""

    tier: Tier
    make: Callable[[_Source], _Payload]
    shape_of: Callable[[_Source], tuple[int, int]]


def _choose_rules(tier: Tier, short_side: int | None, decoded_side: int) -> _Rules:
    if tier == "decoded":
        return _Rules(tier, lambda source: _pixels(source, decoded_side), lambda _: (decoded_side, decoded_side))
    if short_side is None:
        return _Rules(tier, _as_it_is, lambda source: (source.height, source.width))
    return _Rules(tier, lambda source: _smaller(source, short_side), lambda source: _at_most(source, short_side))


def _sources(manifest: pd.DataFrame, root: Path) -> list[_Source]:
    columns = ("path", "codec", "height", "width", "byte_count", *({"mask_path"} & {*manifest.columns}))
    rows = zip(*(manifest[name].tolist() for name in columns), strict=True)
    return [_Source(root / path, *more) for path, *more in rows]


def _with_masks(rules: _Rules, read_mask: ReadMask) -> _Rules:
    """Store the mask of each picture behind it, in its size."""

    def make(source: _Source) -> _Payload:
        mask = encode_mask(resize_mask(read_mask(source.mask_path), *rules.shape_of(source)))
        return replace(rules.make(source), mask=mask)

    return replace(rules, make=make)


def _as_it_is(source: _Source) -> _Payload:
    data = _read(source)
    plain = source.codec == "jpeg" and is_plain_jpeg(data)
    return _Payload(data, Codec.PLAIN_JPEG if plain else Codec.FILE)


def _smaller(source: _Source, short_side: int) -> _Payload:
    if min(source.height, source.width) <= short_side:
        return _as_it_is(source)
    small_HWC = _resize(_decode(source), _scaled_shape(source, short_side))
    data = simplejpeg.encode_jpeg(small_HWC, quality=_JPEG_QUALITY, colorspace="RGB", colorsubsampling="420")
    return _Payload(data, Codec.PLAIN_JPEG)


def _pixels(source: _Source, side: int) -> _Payload:
    height, width = _scaled_shape(source, side)
    resized_HWC = _resize(_decode(source), (height, width))
    top, left = (height - side) // 2, (width - side) // 2
    return _Payload(resized_HWC[top : top + side, left : left + side].tobytes(), Codec.PIXELS)


def _scaled_shape(source: _Source, short_side: int) -> tuple[int, int]:
    scale = short_side / min(source.height, source.width)
    return max(round(source.height * scale), short_side), max(round(source.width * scale), short_side)


def _at_most(source: _Source, short_side: int) -> tuple[int, int]:
    if min(source.height, source.width) <= short_side:
        return source.height, source.width
    return _scaled_shape(source, short_side)


def _resize(image_HWC: Pixels, shape: tuple[int, int]) -> Pixels:
    rule = cv2.INTER_AREA if shape[0] < image_HWC.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_HWC, (shape[1], shape[0]), interpolation=rule), dtype=np.uint8)


def _read(source: _Source) -> bytes:
    try:
        data = source.path.read_bytes()
    except OSError as error:
        raise StoreError(f"{source.path}: cannot be read any more ({error.strerror}). Ingest again.") from error
    if len(data) != source.byte_count:
        raise StoreError(f"{source.path}: had {source.byte_count} bytes, now {len(data)}. Ingest again.")
    return data


def _decode(source: _Source) -> Pixels:
    try:
        return decode_rgb(_read(source))
    except ImageRejectedError as error:
        raise StoreError(f"{source.path}: changed since it was inspected ({error}). Ingest again.") from error


def _plan_index(
    manifest: pd.DataFrame,
    sources: list[_Source],
    classes: tuple[str, ...],
    rules: _Rules,
    boxes: pd.DataFrame | None,
    *,
    holds_masks: bool,
) -> Index:
    """First pass: sizes and places. Checksums and codecs are filled in by the second."""
    shapes = np.array([rules.shape_of(source) for source in sources], dtype=np.int32)
    sizes = shapes.astype(np.int64).prod(axis=1) * 3 if rules.tier == "decoded" else _file_sizes(sources, rules)
    index = Index(
        kind="classes" if boxes is None else "boxes",
        tier=rules.tier,
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        shapes=shapes,
        codecs=np.zeros(len(sources), dtype=np.uint8),
        crc32=np.zeros(len(sources), dtype=np.uint32),
        classes=classes,
        paths=tuple(manifest["path"]),
    )
    if holds_masks:
        blank = np.zeros(len(sources), dtype=np.int64)
        return replace(index, kind="masks", mask_offsets=blank, mask_crc32=blank.astype(np.uint32))
    if boxes is None:
        return replace(index, labels=manifest["label"].to_numpy(dtype=np.int64))
    ragged = ragged_boxes(manifest, boxes, shapes)
    return replace(index, box_offsets=ragged.offsets, boxes=ragged.boxes, box_labels=ragged.labels)


def _file_sizes(sources: list[_Source], rules: _Rules) -> npt.NDArray[np.int64]:
    """Sizes as stored; only for files that become smaller must the work be done once to know."""
    if rules.make is _as_it_is:
        return np.array([source.byte_count for source in sources], dtype=np.int64)
    return np.fromiter((len(made.data) + len(made.mask) for made in stream_map(rules.make, sources)), dtype=np.int64)


def _require_space(path: Path, temporary: Path, index: Index) -> None:
    """Check before HDF5 writes a byte: free space, and any limit on the size of one file."""
    texts = sum(len(text.encode()) + 48 for text in (*index.classes, *index.paths))
    needed = int(index.offsets[-1]) + sum(getattr(index, name).nbytes for name in DTYPES[index.kind]) + texts + MIB
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StoreError(
            f"{path}: the store needs {needed} bytes ({format_bytes(needed)}), but only {free} bytes "
            f"({format_bytes(free)}) are free in {path.parent}. Free some, or choose another folder."
        )
    try:
        with temporary.open("wb") as file:
            file.truncate(needed)
    except OSError as error:
        raise StoreError(
            f"{path}: the store needs {needed} bytes ({format_bytes(needed)}), but a file of that size is refused "
            f"({error.strerror}). Raise the limit (ulimit -f), or choose another disk."
        ) from error


def _lay_out(temporary: Path, index: Index) -> int:
    """Write the index and reserve the block of pictures; give the block's place in the file."""
    with h5py.File(temporary, "w", libver=_LIBVER) as file:
        attributes = {"format": FORMAT, "version": VERSIONS[index.kind], "tier": index.tier, "complete": False}
        file.attrs.update({**attributes, "index_sha256": _UNKNOWN_SHA256})
        for name in DTYPES[index.kind]:
            file.create_dataset(name, data=getattr(index, name))
        for name in TEXTS:
            file.create_dataset(name, data=list(getattr(index, name)), dtype=h5py.string_dtype())
        return _reserve_block(file, index)


def _reserve_block(file: h5py.File, index: Index) -> int:
    """Reserve the bytes without writing them, which the high-level interface cannot."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    num_bytes = int(index.offsets[-1])
    shape = (num_bytes,) if index.tier == "jpeg" else (len(index.paths), *map(int, index.shapes[0]), 3)
    space = h5py.h5s.create_simple(shape)
    name = BLOCK_NAMES[index.tier].encode()
    return int(h5py.h5d.create(file.id, name, h5py.h5t.STD_U8LE, space, creation).get_offset())


def _fill(temporary: Path, start: int, index: Index, payloads: Iterator[_Payload], progress: Progress | None) -> Index:
    """Second pass: write the bytes to their places; give the index with checksums and codecs."""
    codecs, crc32 = index.codecs.copy(), index.crc32.copy()
    mask_offsets, mask_crc32 = index.mask_offsets.copy(), index.mask_crc32.copy()
    with temporary.open("r+b") as file:
        file.seek(start)
        for number, payload in enumerate(payloads):
            file.write(payload.data)
            codecs[number], crc32[number] = payload.codec, zlib.crc32(payload.data)
            if index.kind == "masks":
                mask_offsets[number], mask_crc32[number] = file.tell() - start, zlib.crc32(payload.mask)
                file.write(payload.mask)
            if progress:
                progress(number + 1, len(crc32))
        file.flush()
        os.fsync(file.fileno())
    return replace(index, codecs=codecs, crc32=crc32, mask_offsets=mask_offsets, mask_crc32=mask_crc32)


def _payloads(sources: list[_Source], rules: _Rules, index: Index) -> Iterator[_Payload]:
    sizes = np.diff(index.offsets).tolist()
    for source, size, payload in zip(sources, sizes, stream_map(rules.make, sources), strict=True):
        if len(payload.data) + len(payload.mask) != size:
            raise StoreError(f"{source.path}: changed while it was stored. Ingest again.")
        yield payload


def _seal(temporary: Path, index: Index) -> None:
    """Set what only the second pass knows, in its reserved place, and `complete` last."""
    with h5py.File(temporary, "r+", libver=_LIBVER) as file:
        for name in {"codecs", "crc32", "mask_offsets", "mask_crc32"} & {*DTYPES[index.kind]}:
            file[name][...] = getattr(index, name)
        file.attrs.modify("index_sha256", index.sha256())
        file.attrs.modify("complete", True)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
