"""How one image is stored: its bytes, its codec, its shape, and its mask."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pandas as pd
import simplejpeg

from eightgig.core.errors import ImageRejectedError, StoreError
from eightgig.data.images.decoding import Pixels, decode_rgb, is_plain_jpeg
from eightgig.data.ingest.journal import stamp_of
from eightgig.data.store.format import FORMAT, VERSIONS, Codec
from eightgig.data.store.masks import Labels, encode_mask, resize_mask

Tier = Literal["jpeg", "decoded"]
ReadMask = Callable[[str], Labels]
"""From a mask's path, as the manifest has it, to its labels; StoreError where it changed since it was inspected."""
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class Source:
    """One image to store."""

    path: Path
    codec: str
    height: int
    width: int
    byte_count: int
    mask_path: str = ""


@dataclass(frozen=True)
class Payload:
    """What is stored for one image."""

    data: bytes
    codec: Codec
    mask: bytes = b""


@dataclass(frozen=True)
class Rules:
    """How an image is stored, and what shape (height, width) it then has."""

    tier: Tier
    make: Callable[[Source], Payload]
    shape_of: Callable[[Source], tuple[int, int]]


def choose_rules(tier: Tier, short_side: int | None, decoded_side: int) -> Rules:
    """Return the rules of a tier; `jpeg` keeps files as they are unless their short side exceeds `short_side`."""
    if tier == "decoded":
        return Rules(tier, lambda source: _pixels(source, decoded_side), lambda _: (decoded_side, decoded_side))
    if short_side is None:
        return Rules(tier, _as_it_is, lambda source: (source.height, source.width))
    return Rules(tier, lambda source: _smaller(source, short_side), lambda source: _at_most(source, short_side))


def sources_of(manifest: pd.DataFrame, root: Path) -> list[Source]:
    """Return the images of the manifest's rows, in their order."""
    columns = ("path", "codec", "height", "width", "byte_count", *({"mask_path"} & {*manifest.columns}))
    rows = zip(*(manifest[name].tolist() for name in columns), strict=True)
    return [Source(root / path, *more) for path, *more in rows]


def with_masks(rules: Rules, read_mask: ReadMask) -> Rules:
    """Store the mask of each image behind it, in its size."""

    def make(source: Source) -> Payload:
        mask = encode_mask(resize_mask(read_mask(source.mask_path), *rules.shape_of(source)))
        return replace(rules.make(source), mask=mask)

    return replace(rules, make=make)


def recipe_of(manifest: pd.DataFrame, root: Path, boxes: pd.DataFrame | None, settings: Sequence[object]) -> str:
    """Return a hash of all that decides what is stored; of masks size and time, which the manifest does not tell."""
    digest = hashlib.sha256(json.dumps([FORMAT, VERSIONS, settings]).encode())
    for table in (manifest, boxes):
        if table is not None:
            digest.update(pd.util.hash_pandas_object(table).to_numpy().tobytes())
    for mask_path in manifest.get("mask_path", ()):
        digest.update(repr(stamp_of(root / mask_path)).encode())
    return digest.hexdigest()


def _as_it_is(source: Source) -> Payload:
    data = _read(source)
    plain = source.codec == "jpeg" and is_plain_jpeg(data)
    return Payload(data, Codec.PLAIN_JPEG if plain else Codec.FILE)


def _smaller(source: Source, short_side: int) -> Payload:
    if min(source.height, source.width) <= short_side:
        return _as_it_is(source)
    small_HWC = _resize(_decode(source), _scaled_shape(source, short_side))
    data = simplejpeg.encode_jpeg(small_HWC, quality=_JPEG_QUALITY, colorspace="RGB", colorsubsampling="420")
    return Payload(data, Codec.PLAIN_JPEG)


def _pixels(source: Source, side: int) -> Payload:
    height, width = _scaled_shape(source, side)
    resized_HWC = _resize(_decode(source), (height, width))
    top, left = (height - side) // 2, (width - side) // 2
    return Payload(resized_HWC[top : top + side, left : left + side].tobytes(), Codec.PIXELS)


def _scaled_shape(source: Source, short_side: int) -> tuple[int, int]:
    scale = short_side / min(source.height, source.width)
    return max(round(source.height * scale), short_side), max(round(source.width * scale), short_side)


def _at_most(source: Source, short_side: int) -> tuple[int, int]:
    if min(source.height, source.width) <= short_side:
        return source.height, source.width
    return _scaled_shape(source, short_side)


def _resize(image_HWC: Pixels, shape: tuple[int, int]) -> Pixels:
    rule = cv2.INTER_AREA if shape[0] < image_HWC.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_HWC, (shape[1], shape[0]), interpolation=rule), dtype=np.uint8)


def _read(source: Source) -> bytes:
    try:
        data = source.path.read_bytes()
    except OSError as error:
        raise StoreError(f"{source.path}: cannot be read any more ({error.strerror}). Ingest again.") from error
    if len(data) != source.byte_count:
        raise StoreError(f"{source.path}: had {source.byte_count} bytes, now {len(data)}. Ingest again.")
    return data


def _decode(source: Source) -> Pixels:
    try:
        return decode_rgb(_read(source))
    except ImageRejectedError as error:
        raise StoreError(f"{source.path}: changed since it was inspected ({error}). Ingest again.") from error
