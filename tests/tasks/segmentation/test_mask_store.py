"""Masks come back as they went in, beside their images; damage is told."""

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.core.errors import StoreError
from eightgig.data.images.decoding import inspect_image
from eightgig.data.store.masks import VOID, decode_mask, encode_mask, resize_mask
from eightgig.data.store.reader import ImageStore, write_store


@pytest.fixture
def images(tmp_path):
    """Return (folder, manifest, masks by path): four images whose masks are labels 0 to 2 and void."""
    rng = np.random.default_rng(0)
    rows, masks = [], {}
    for number in range(4):
        height, width = 40 + number, 60
        image_HWC = np.kron(rng.integers(0, 255, (1, 6, 3)), np.ones((height, 10, 1))).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), image_HWC)
        masks[f"{number}.png"] = rng.choice([0, 1, 2, VOID], (height, width)).astype(np.uint8)
        found = inspect_image(tmp_path / f"{number}.jpg", max_pixels=10**6, min_side=1)
        rows.append({"path": f"{number}.jpg", "mask_path": f"{number}.png", **found.model_dump()})
    return tmp_path, pd.DataFrame(rows), masks


def make(images, **options):
    folder, manifest, masks = images
    path = folder / "store.h5"
    write_store(path, manifest, folder, ("a", "b", "c"), masks=masks.__getitem__, **options)
    return ImageStore(path)


def test_masks_and_images_come_back(images):
    folder, manifest, masks = images
    store = make(images)
    assert store.kind == "masks"
    store.verify()
    for index, row in manifest.iterrows():
        assert store.read_bytes(index) == (folder / row["path"]).read_bytes()
        assert np.array_equal(store.mask(index), masks[row["mask_path"]])
        assert store.decode(index).shape[:2] == store.mask(index).shape


def test_smaller_images_have_smaller_masks_of_the_same_labels(images):
    store = make(images, short_side=20)
    for index in range(4):
        assert store.mask(index).shape == store.decode(index).shape[:2] == tuple(store.shapes[index])
        assert set(np.unique(store.mask(index))) <= {0, 1, 2, VOID}


def test_a_store_of_masks_has_no_boxes_and_no_decoded_tier(images):
    with pytest.raises(StoreError, match="wanted boxes, but this store holds"):
        make(images).boxes(0)
    with pytest.raises(StoreError, match="it holds no masks"):
        make(images, tier="decoded")


def test_a_damaged_mask_is_named(images):
    store = make(images)
    with h5py.File(store.path) as file:
        place = file["jpeg"].id.get_offset() + int(file["mask_offsets"][2]) + 50
    content = bytearray(store.path.read_bytes())
    content[place] ^= 1
    store.path.write_bytes(content)
    damaged = ImageStore(store.path)
    assert damaged.mask(1).shape == store.mask(1).shape
    with pytest.raises(StoreError, match=r"image 2 \(from 2.jpg\) is damaged"):
        damaged.mask(2)
    with pytest.raises(StoreError, match="image 2"):
        damaged.verify()


def test_labels_beyond_the_classes_are_refused(images):
    images[2]["3.png"][0, 0] = 3
    with pytest.raises(StoreError, match="labels must be 0 to 2 or 255, found 3"):
        make(images).mask(3)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_mask_survives_and_no_label_appears(height, width, new_height, new_width, seed):
    labels_HW = np.random.default_rng(seed).choice([0, 4, VOID], (height, width)).astype(np.uint8)
    assert np.array_equal(decode_mask(encode_mask(labels_HW), height=height, width=width, num_classes=5), labels_HW)
    resized_HW = resize_mask(labels_HW, new_height, new_width)
    assert resized_HW.shape == (new_height, new_width)
    assert set(np.unique(resized_HW)) <= set(np.unique(labels_HW))


@pytest.mark.parametrize("png", [b"", b"not an image", encode_mask(np.zeros((3, 2), np.uint8))])
def test_what_is_no_mask_of_this_size(png):
    with pytest.raises(ValueError, match=r"wanted a mask of 3 x 2 pixels"):
        decode_mask(png, height=2, width=3, num_classes=2)
