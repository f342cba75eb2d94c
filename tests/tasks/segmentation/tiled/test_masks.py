"""Tiles give what the whole image gives, for any size, and the article's loop does not."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from eightgig.core.errors import ConfigurationError, WeightsError
from eightgig.data.store.masks import Labels
from eightgig.tasks.segmentation.tiled.masks import blend_masks
from eightgig.tasks.segmentation.unet import UNet
from eightgig.tiles.grid import Grid
from eightgig.tiles.source import ArraySource


def blended(image_HWC, run, folder, *, num_classes, tile, overlap, batch=3):
    """Return the whole mask; see that rows come in order and that pixels are counted right."""
    masks: list[Labels] = []
    rows: list[Any] = []
    height, width = image_HWC.shape[:2]

    def take(top, rows_RWC, labels_RW):
        assert top == sum(map(len, rows))
        rows.append(rows_RWC)
        masks.append(labels_RW)

    pixels_K = blend_masks(
        ArraySource(image_HWC),
        lambda images_N3HW: run(images_N3HW).numpy(),
        num_classes=num_classes,
        grid=Grid(height, width, tile, overlap),
        batch=batch,
        on_rows=take,
        scratch=folder,
    )
    assert np.array_equal(np.concatenate(rows), image_HWC)
    mask = np.concatenate(masks)
    assert np.array_equal(pixels_K, np.bincount(mask.ravel(), minlength=num_classes))
    assert list(folder.iterdir()) == []
    return mask


def brightness(images_N3HW):
    """Return as many classes as there are quarters of brightness: a network that looks at single pixels."""
    levels = torch.from_numpy(images_N3HW.copy()).float().mean(1) / 64
    return -(levels[:, None] - torch.arange(4)[None, :, None, None] - 0.5).abs()


def as_batch(image_HWC):
    return image_HWC.transpose(2, 0, 1)[None]


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 70), st.integers(1, 90), st.sampled_from([(32, 8), (32, 16), (16, 8)]), st.integers(1, 4))
def test_any_size_is_covered_exactly(scratch, height, width, cut, batch):
    image_HWC = np.random.default_rng(height * 100 + width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    found = blended(image_HWC, brightness, scratch, num_classes=4, tile=cut[0], overlap=cut[1], batch=batch)
    assert np.array_equal(found, brightness(as_batch(image_HWC))[0].argmax(0).numpy())


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def network():
    """Return a small U-Net with random weights and statistics of real activations."""
    torch.manual_seed(0)
    unet = UNet(7, width=8)
    unet.train()
    with torch.no_grad():
        for _ in range(20):
            unet(functional.interpolate(torch.randn(2, 3, 24, 24), scale_factor=8, mode="bicubic"))
        unet.eval()
        logits = unet((torch.from_numpy(as_batch(smooth_image(160, 160, seed=2)).copy()).float() - 128) / 60)
        unet.head.bias -= logits.mean((0, 2, 3))  # so that each class is the likeliest somewhere
    return unet


def smooth_image(height, width, seed=1):
    torch.manual_seed(seed)
    coarse = torch.randn(1, 3, height // 12, width // 12)
    image = functional.interpolate(coarse, size=(height, width), mode="bicubic")[0].permute(1, 2, 0)
    return (128 + 60 * image).clamp(0, 255).to(torch.uint8).numpy()


def run_of(network):
    @torch.inference_mode()
    def run(images_N3HW):
        return network((torch.from_numpy(images_N3HW.copy()).float() - 128) / 60).clone()

    return run


def test_tiles_agree_with_the_whole_image(network, tmp_path):
    image_HWC, run = smooth_image(400, 520), run_of(network)
    whole = run(as_batch(image_HWC))[0].argmax(0).numpy()
    found = blended(image_HWC, run, tmp_path, num_classes=7, tile=256, overlap=128)
    inside = np.s_[72:-72, 72:-72]
    assert len(np.unique(whole)) > 3
    assert (found[inside] == whole[inside]).mean() >= 0.999


def test_a_network_that_says_one_thing_leaves_no_seam(tmp_path):
    def constant(images_N3HW):
        logits = torch.zeros(len(images_N3HW), 5, *images_N3HW.shape[2:])
        logits[:, 3] = 1e-3
        return logits

    assert (blended(smooth_image(150, 222), constant, tmp_path, num_classes=5, tile=64, overlap=24) == 3).all()


def test_probabilities_are_those_of_the_blended_logits(tmp_path):
    image_HWC = smooth_image(100, 130)
    whole_KHW = np.zeros((4, 100, 130), np.float16)

    def keep(top, left, piece_KRC):
        whole_KHW[:, top : top + piece_KRC.shape[1], left : left + piece_KRC.shape[2]] = piece_KRC

    blend_masks(
        ArraySource(image_HWC),
        lambda images_N3HW: brightness(images_N3HW).numpy(),
        num_classes=4,
        grid=Grid(100, 130, 48, 16),
        batch=2,
        on_rows=lambda *_: None,
        on_probabilities=keep,
        scratch=tmp_path,
    )
    wanted = brightness(as_batch(image_HWC))[0].softmax(0).numpy()
    assert np.abs(whole_KHW - wanted).max() < 2e-3


def article_loop(image_HWC, patch_size, overlap, num_classes, predict):
    """Do what the article's 3.1.2 does."""
    height, width = image_HWC.shape[:2]
    num_down = (height - overlap) // (patch_size - overlap) + 1
    num_across = (width - overlap) // (patch_size - overlap) + 1
    results, counts = np.zeros((height, width, num_classes), np.float32), np.zeros((height, width), np.float32)
    for i in range(num_down):
        for j in range(num_across):
            top, left = i * (patch_size - overlap), j * (patch_size - overlap)
            bottom, right = min(top + patch_size, height), min(left + patch_size, width)
            patch = image_HWC[top:bottom, left:right]
            if patch.shape[0] < 64 or patch.shape[1] < 64:
                continue
            output = predict(as_batch(patch))[0].softmax(0).permute(1, 2, 0).numpy()
            results[top:bottom, left:right] += output[: bottom - top, : right - left]
            counts[top:bottom, left:right] += 1
    with np.errstate(invalid="ignore"):
        return results / counts[:, :, None]


def test_the_articles_loop_leaves_the_rim_out_and_divides_by_zero(tmp_path):
    image_HWC = smooth_image(500, 500)
    found = article_loop(image_HWC, 256, 32, 4, brightness)  # the third tile of a row would be 52 pixels wide
    assert np.isnan(found[:, 480:]).all()
    assert np.isnan(found[480:]).all()
    mask = blended(image_HWC, brightness, tmp_path, num_classes=4, tile=256, overlap=32)
    assert np.array_equal(mask, brightness(as_batch(image_HWC))[0].argmax(0).numpy())


def test_the_articles_loop_skips_an_image_that_is_small(tmp_path):
    image_HWC = smooth_image(60, 300)
    assert np.isnan(article_loop(image_HWC, 256, 32, 4, brightness)).all()
    mask = blended(image_HWC, brightness, tmp_path, num_classes=4, tile=256, overlap=32)
    assert np.array_equal(mask, brightness(as_batch(image_HWC))[0].argmax(0).numpy())


def test_logits_that_are_not_numbers_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="the network gives NaN for some pixels"):
        blended(smooth_image(60, 60), lambda i: brightness(i) * torch.nan, tmp_path, num_classes=4, tile=32, overlap=8)


def test_another_number_of_classes_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="found 1 x 4 x 32 x 32"):
        blended(smooth_image(24, 24), brightness, tmp_path, num_classes=5, tile=32, overlap=8)
