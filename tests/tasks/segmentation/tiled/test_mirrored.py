"""A border of mirror images, and what is handed on without it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.tasks.segmentation.tiled.masks import blend_masks
from eightgig.tasks.segmentation.tiled.mirrored import InnerRows, MirroredSource
from eightgig.tasks.segmentation.unet import UNet
from eightgig.tiles.grid import Grid
from eightgig.tiles.source import ArraySource


class OnceOnly(ArraySource):
    """Complains when a row is read twice, or out of order."""

    end = 0

    def read(self, top, bottom):
        assert top == self.end
        self.end = bottom
        return super().read(top, bottom)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 30), st.integers(1, 25))
def test_rows_are_those_of_numpys_reflection(height, width, margin, step):
    image_HWC = np.random.default_rng(height).integers(0, 255, (height, width, 3), dtype=np.uint8)
    source = MirroredSource(OnceOnly(image_HWC), margin)
    tops = range(0, source.height, step)
    found = np.concatenate([source.read(top, min(top + step, source.height)) for top in tops])
    assert np.array_equal(found, np.pad(image_HWC, ((margin, margin), (margin, margin), (0, 0)), mode="reflect"))


def test_few_rows_are_kept():
    image_HWC = np.zeros((500, 8, 3), np.uint8)
    source = MirroredSource(ArraySource(image_HWC), 16)
    for top in range(0, source.height, 4):
        source.read(top, top + 4)
        assert len(source._kept) <= 16 + 5


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 70), (61, 33), (100, 90)])
def test_the_image_itself_is_handed_on(tmp_path, height, width):
    image_HWC = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
    shares = np.full((3, height, width), np.nan, np.float32)
    rows, labels = [], []

    def take(rows_RWC, labels_RW):
        rows.append(rows_RWC.copy())
        labels.append(labels_RW.copy())

    inner = InnerRows(height, width, 16, take, num_classes=3)

    def write(top, left, piece):
        shares[:, top : top + piece.shape[1], left : left + piece.shape[2]] = piece

    def run(images_N3HW):
        return -np.abs(images_N3HW.astype(np.float32) - 128)

    blend_masks(
        MirroredSource(ArraySource(image_HWC), 16),
        run,
        num_classes=3,
        grid=Grid(height + 32, width + 32, 48, 16),
        batch=2,
        on_rows=inner.take,
        on_probabilities=inner.piece(write),
        scratch=tmp_path,
    )
    wanted = run(image_HWC.transpose(2, 0, 1)[None])[0]
    assert np.array_equal(np.concatenate(rows), image_HWC)
    assert np.array_equal(np.concatenate(labels), wanted.argmax(0))
    assert np.array_equal(inner.pixels_K, np.bincount(wanted.argmax(0).ravel(), minlength=3))
    assert np.isfinite(shares).all()
    assert np.allclose(shares.sum(0), 1, atol=1e-5)


def test_a_mirrored_border_is_no_border_to_a_network():
    """An image that is one colour all over: without the margin the network's own zeros show at the border."""
    torch.manual_seed(0)
    network = UNet(3, width=4).eval()
    image_HWC = np.full((64, 64, 3), 200, np.uint8)
    mirrored = MirroredSource(ArraySource(image_HWC), 80).read(0, 224)
    with torch.no_grad():
        bare, wide = (
            network(torch.from_numpy(each.copy()).permute(2, 0, 1)[None].float() / 255)
            for each in (image_HWC, mirrored)
        )
    inner = wide[:, :, 80:144, 80:144]
    assert (inner - inner.mean((2, 3), keepdim=True)).abs().max() < 0.2 * (
        bare - bare.mean((2, 3), keepdim=True)
    ).abs().max()
