"""Fixtures that make small images and folders of them."""

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

if TYPE_CHECKING:
    from eightgig.data.store.reader import ImageStore


def _smooth_pixels(seed: int, height: int, width: int) -> np.ndarray:
    """Draw soft blobs, which a JPEG keeps nearly as they are."""
    coarse = np.random.default_rng(seed).integers(0, 256, size=(4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def smooth_pixels() -> Callable[[int, int, int], np.ndarray]:
    return _smooth_pixels


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """Encode pixels or a Pillow image."""

    def _encode(pixels: np.ndarray | Image.Image, format: str = "JPEG", **options: object) -> bytes:  # noqa: A002
        buffer = io.BytesIO()
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(buffer, format, **options)
        return buffer.getvalue()

    return _encode


@pytest.fixture
def png_header_only() -> Callable[[int, int], bytes]:
    """Return a PNG that is small as a file and huge by its header."""

    def _make(width: int, height: int) -> bytes:
        def chunk(kind: bytes, body: bytes) -> bytes:
            return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

        header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
        rows = zlib.compress(bytes(10_000))
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

    return _make


@pytest.fixture
def make_folders(tmp_path: Path, encode: Callable[..., bytes]) -> Callable[..., Path]:
    """Make class folders of JPEGs, all different: `make_folders(daisy=4, rose=4)`."""

    def _make(*, height: int = 40, width: int = 50, **counts: int) -> Path:
        root = tmp_path / "photos"
        for position, (name, count) in enumerate(counts.items()):
            (root / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = _smooth_pixels(1000 * position + number, height, width)
                (root / name / f"{number}.jpg").write_bytes(encode(pixels, quality=90))
        return root

    return _make


@pytest.fixture
def manifest_of() -> Callable[..., tuple[pd.DataFrame, pd.DataFrame]]:
    from eightgig.data.images.parameters import DataParameters
    from eightgig.data.ingest.folders import scan_class_folders
    from eightgig.data.ingest.manifest import build_manifest, require_usable

    def _build(root: Path, **options: object) -> tuple[pd.DataFrame, pd.DataFrame]:
        parameters = DataParameters(root=str(root), **options)
        manifest, rejects = build_manifest(scan_class_folders(root), parameters)
        require_usable(root, manifest, rejects, parameters)
        return manifest, rejects

    return _build


@pytest.fixture
def make_store(tmp_path: Path, make_folders: Callable[..., Path]) -> "Callable[..., ImageStore]":
    """Make a store of ten images in two classes."""
    from eightgig.data.images.parameters import DataParameters
    from eightgig.data.ingest.folders import scan_class_folders
    from eightgig.data.ingest.manifest import build_manifest
    from eightgig.data.store.reader import ImageStore, write_store

    def _make(**options: Any) -> "ImageStore":
        root = make_folders(daisy=5, rose=5)
        folders = scan_class_folders(root)
        manifest, _ = build_manifest(folders, DataParameters(root=str(root)))
        path = tmp_path / "store.h5"
        write_store(path, manifest, root, folders.classes, **options)
        return ImageStore(path)

    return _make
