"""A store with a number for each image: what goes in comes out, in one file or several, and as batches."""

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from eightgig.core.errors import StoreError
from eightgig.data.images.loader import create_loader
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.ingest.manifest import build_manifest
from eightgig.data.store.reader import ImageStore, write_store

VALUES = [0.1, 71.0, -3.5, 1e9, 2.0, 3.0]


@pytest.fixture
def write(tmp_path):
    """Return what writes six images with these numbers, and gives the path of their store."""
    root = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for number in range(6):
        path = root / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(path)
    manifest, _ = build_manifest(scan_class_folders(root), DataParameters(root=str(root)))

    def make(values=VALUES, **options):
        write_store(tmp_path / "s.h5", manifest.assign(value=values), root, ("a", "b"), **options)
        return tmp_path / "s.h5"

    return make


@pytest.mark.parametrize("options", [{}, {"shard_bytes": 3_000}, {"tier": "decoded", "decoded_side": 16}])
def test_the_numbers_come_back(write, options):
    store = ImageStore(write(**options))
    assert (store.kind, store.values.dtype) == ("values", np.float64)
    assert store.values.tolist() == VALUES
    assert store.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_batches_have_them_beside_the_labels(write):
    (batch,) = create_loader(ImageStore(write()), [5, 1], image_size=16, batch_size=4)
    assert batch["values"].dtype == torch.float32
    assert batch["values"].tolist() == [3.0, 71.0]
    assert batch["labels"].tolist() == [1, 0]


def test_other_numbers_make_another_store(write):
    sha256 = ImageStore(write()).sha256
    assert ImageStore(write([0.2, *VALUES[1:]])).sha256 != sha256


def test_a_value_that_is_no_number_is_refused(write):
    path = write()
    with h5py.File(path, "r+") as file:
        file["values"][2] = np.nan
    with pytest.raises(StoreError, match=r"the value of image 2 is not a number"):
        ImageStore(path)
