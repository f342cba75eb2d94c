"""Image and mask move together, whatever varies; batches are keyed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.loaders import sampler_of

from eightgig.data.images.parameters import AugmentParameters
from eightgig.data.images.transforms import CropBox
from eightgig.data.store.masks import VOID
from eightgig.data.store.reader import ImageStore
from eightgig.tasks.segmentation.loader import create_mask_loader
from eightgig.tasks.segmentation.parameters import ProgressiveSize, ResizeStep, SegmentationDataParameters
from eightgig.tasks.segmentation.store_content import masked_content
from eightgig.tasks.segmentation.transforms import crop_both_into, letterbox_both_into


def painted(height, width, cell=16):
    """Return an image whose brightness is the label of its mask, in cells large enough to survive resizing."""
    rng = np.random.default_rng(height * 1000 + width)
    labels_HW = rng.integers(0, 2, (-(-height // cell), -(-width // cell))).astype(np.uint8)
    labels_HW = np.kron(labels_HW, np.ones((cell, cell), np.uint8))[:height, :width]
    return np.repeat((labels_HW * 200 + 20)[..., None], 3, 2), np.ascontiguousarray(labels_HW)


def share_aligned(image_HWC, labels_HW):
    known = labels_HW != VOID
    grey = image_HWC[..., 0].astype(int)
    sure = known & ((grey < 60) | (grey > 180))  # between the cells the image is interpolated
    return ((grey[sure] > 120) == (labels_HW[sure] == 1)).mean(), sure.mean()


@settings(max_examples=80, deadline=None)
@given(st.integers(40, 200), st.integers(40, 200), st.data(), st.booleans(), st.sampled_from([32, 48, 96]))
def test_a_crop_of_both_shows_the_same(height, width, data, flip, size):
    image_HWC, labels_HW = painted(height, width)
    box_height, box_width = data.draw(st.integers(32, height)), data.draw(st.integers(32, width))
    top, left = data.draw(st.integers(0, height - box_height)), data.draw(st.integers(0, width - box_width))
    out_HWC, out_HW = np.empty((size, size, 3), np.uint8), np.empty((size, size), np.uint8)
    crop_both_into(image_HWC, labels_HW, CropBox(top, left, box_height, box_width), out_HWC, out_HW, flip=flip)
    aligned, seen = share_aligned(out_HWC, out_HW)
    assert aligned > 0.95  # what is mirrored or shifted on one side alone comes to about a half
    assert seen > 0.3
    assert set(np.unique(out_HW)) <= {0, 1}


@settings(max_examples=60, deadline=None)
@given(st.integers(40, 200), st.integers(40, 200), st.sampled_from([32, 64, 160]))
def test_a_letterboxed_image_has_void_beside_it(height, width, size):
    image_HWC, labels_HW = painted(height, width)
    out_HWC, out_HW = np.empty((size, size, 3), np.uint8), np.empty((size, size), np.uint8)
    letterbox_both_into(image_HWC, labels_HW, out_HWC, out_HW)
    assert ((out_HW == VOID) == (out_HWC == 114).all(2)).mean() > 0.98
    aligned, _ = share_aligned(out_HWC, out_HW)
    assert aligned > 0.95
    shorter = min(height, width) / max(height, width)
    assert (out_HW != VOID).mean() == pytest.approx(shorter, abs=1.01 / size)


@pytest.fixture
def store(masked, ingest, tmp_path):
    root = masked(*"abcdefgh")
    manifest, _, _, folder = ingest(root)
    masked_content(manifest, folder, SegmentationDataParameters(root=str(root))).write(tmp_path / "s.h5")
    return ImageStore(tmp_path / "s.h5")


def batches(store, epoch=1, **options):
    loader = create_mask_loader(store, range(8), **{"image_size": 32, "batch_size": 3, **options})
    sampler_of(loader).set_epoch(epoch)
    return list(loader)


def test_batches_of_whole_images(store):
    made = batches(store)
    assert [batch["indices"].tolist() for batch in made] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert made[0]["images"].shape == (3, 3, 32, 32)
    assert made[0]["masks"].shape == (3, 32, 32)
    assert set(np.unique(made[0]["masks"])) <= {0, 1, 2, VOID}


def test_variation_is_keyed_and_does_not_depend_on_workers(store):
    augment = AugmentParameters(crop_scale=(0.3, 1.0))
    alone, workers, other = (
        batches(store, epoch, augment=augment, num_workers=number, seed=5) for epoch, number in ((3, 0), (3, 2), (4, 0))
    )
    for one, two in zip(alone, workers, strict=True):
        assert all(np.array_equal(one[name], two[name]) for name in ("images", "masks", "indices"))
    assert not np.array_equal(alone[0]["masks"], other[0]["masks"])


def test_low_resolution_first(store):
    size = ProgressiveSize(64, (ResizeStep(until=0.5, size=0.5),), 4)
    assert [batches(store, epoch, image_size=size)[0]["masks"].shape[1] for epoch in range(1, 5)] == [32, 32, 64, 64]


def test_a_lone_last_sample_is_kept(store):
    """Training knows what to do with one: see tests/training/test_lone_samples.py."""
    augment = AugmentParameters()
    assert [len(batch["indices"]) for batch in batches(store, batch_size=7, augment=augment)] == [7, 1]
    assert [len(batch["indices"]) for batch in batches(store, batch_size=7)] == [7, 1]
