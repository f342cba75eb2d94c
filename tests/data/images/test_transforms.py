import random

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as reference

from eightgig.data.images import transforms
from eightgig.data.images.parameters import AugmentParameters
from eightgig.data.images.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CropBox,
    DeviceColour,
    center_crop_box,
    crop_resize_into,
    random_resized_crop_box,
)

sides = st.integers(1, 3000)


@settings(deadline=None, max_examples=300)
@given(sides, sides, st.integers(0, 2**63), st.floats(0.01, 1.0), st.floats(0.1, 1.0))
def test_a_random_box_lies_in_the_image(height: int, width: int, seed: int, scale: float, ratio: float) -> None:
    box = random_resized_crop_box(height, width, random.Random(seed), (scale, 1.0), (ratio, 1 / ratio))
    assert box.height >= 1
    assert box.width >= 1
    assert 0 <= box.top <= height - box.height
    assert 0 <= box.left <= width - box.width


def test_random_boxes_follow_torchvisions_rule() -> None:
    """The same shares of area and shapes on average, and the same box where none fits."""
    rng, count = random.Random(0), 4000
    ours = np.array([random_resized_crop_box(400, 500, rng) for _ in range(count)], dtype=float)
    torch.manual_seed(0)
    image = torch.empty(3, 400, 500)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)], dtype=float
    )
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 8
    assert np.abs(ours.std(0) - theirs.std(0)).max() < 8
    for height, width in ((10, 1000), (1000, 10), (7, 7)):
        wanted = RandomResizedCrop.get_params(torch.empty(3, height, width), [2.0, 2.0], [3 / 4, 4 / 3])
        assert random_resized_crop_box(height, width, rng, (2.0, 2.0)) == wanted


@settings(deadline=None)
@given(sides, sides, st.floats(0.05, 1.0))
def test_the_middle_square(height: int, width: int, ratio: float) -> None:
    box = center_crop_box(height, width, ratio)
    assert box.height == box.width == max(round(min(height, width) * ratio), 1)
    assert abs(2 * box.top + box.height - height) <= 1
    assert abs(2 * box.left + box.width - width) <= 1


def test_the_middle_square_by_hand() -> None:
    assert center_crop_box(400, 500, 0.875) == CropBox(25, 75, 350, 350)


@pytest.mark.parametrize("side", [20, 60, 100, 300])
def test_a_crop_is_resized_and_mirrored_in_place(side: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 240, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 3).astype(np.uint8)
    out = np.zeros((2, side, side, 3), np.uint8)
    crop_resize_into(image, CropBox(10, 20, 100, 120), out[0])
    crop_resize_into(image, CropBox(10, 20, 100, 120), out[1], flip=True)
    assert np.array_equal(out[1], out[0][:, ::-1])
    part = torch.from_numpy(image[10:110, 20:140].copy()).permute(2, 0, 1)
    wanted = reference.resize(part, [side, side], antialias=True).permute(1, 2, 0).numpy()
    assert np.abs(out[0].astype(int) - wanted).mean() < 2


def mild_images(num_images: int) -> torch.Tensor:
    """Values far enough from 0 and 255 that no step reaches them."""
    torch.manual_seed(0)
    return torch.randint(70, 150, (num_images, 3, 20, 30), dtype=torch.uint8)


def adjusted(image: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Vary and normalise as torchvision does, in fixed order."""
    image = image.float() / 255
    image = reference.adjust_brightness(image, factors[0].item())
    image = reference.adjust_contrast(image, factors[1].item())
    image = reference.adjust_saturation(image, factors[2].item())
    return reference.normalize(image, list(IMAGENET_MEAN), list(IMAGENET_STD))


def test_colours_equal_torchvisions_where_nothing_is_clamped() -> None:
    images = mild_images(16)
    factors = DeviceColour.draw_factors(16, AugmentParameters(), torch.Generator().manual_seed(1))
    wanted = torch.stack([adjusted(image, f) for image, f in zip(images, factors, strict=True)])
    assert torch.allclose(DeviceColour(AugmentParameters())(images, factors=factors), wanted, atol=1e-5)


def test_colours_stay_near_torchvisions_where_it_clamps() -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (16, 3, 40, 40), dtype=torch.uint8)
    factors = DeviceColour.draw_factors(16, AugmentParameters(), torch.Generator().manual_seed(1))
    wanted = torch.stack([adjusted(image, f) for image, f in zip(images, factors, strict=True)])
    found = DeviceColour(AugmentParameters())(images, factors=factors)
    std = torch.tensor(IMAGENET_STD).view(3, 1, 1)
    assert ((found - wanted).abs() * std).mean() < 0.01  # of 1
    values = found * std + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    assert values.min() > -1e-5
    assert values.max() < 1 + 1e-5


def test_evaluation_only_normalises() -> None:
    images = mild_images(3)
    colour = DeviceColour(AugmentParameters()).eval()
    wanted = reference.normalize(images.float() / 255, list(IMAGENET_MEAN), list(IMAGENET_STD))
    assert torch.allclose(colour(images), wanted, atol=1e-5)
    assert torch.allclose(DeviceColour(None).train()(images), wanted, atol=1e-5)
    other = DeviceColour(None, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    assert torch.allclose(other(images), (images.float() - 127) / 128, atol=1e-5)


def test_factors_come_from_the_generator_and_differ_between_images() -> None:
    augment = AugmentParameters(brightness=0.3, contrast=0.1, saturation=0.0)
    first, second = (DeviceColour.draw_factors(500, augment, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
    assert (first - 1).abs().amax(0).tolist() == pytest.approx([0.3, 0.1, 0.0], abs=0.01)
    images, colour = mild_images(4), DeviceColour(augment).train()
    runs = [colour(images, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_the_way_for_devices_gives_what_the_way_for_the_cpu_gives() -> None:
    images = torch.randint(0, 256, (4, 3, 20, 30), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    affine = torch.rand(4, 3, 4) / 100
    low, high = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([3.0, 3.5, 4.0])
    first = transforms._transform(images, affine, low, high)
    second = transforms._transform_on_cpu(images, affine, low, high)
    assert torch.allclose(first, second, atol=1e-5)
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert second.is_contiguous(memory_format=torch.channels_last)


def test_autocast_does_not_round_the_colours() -> None:
    images, colour = mild_images(2), DeviceColour(AugmentParameters()).train()
    with torch.autocast("cpu", torch.bfloat16):
        found = colour(images, generator=torch.Generator().manual_seed(1))
    assert found.dtype == torch.float32
    assert torch.equal(found, colour(images, generator=torch.Generator().manual_seed(1)))


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    images, colour = mild_images(8), DeviceColour(AugmentParameters())
    factors = DeviceColour.draw_factors(8, AugmentParameters())
    found = colour.cuda()(images.cuda(), factors=factors).cpu()
    assert torch.allclose(found, colour.cpu()(images, factors=factors), atol=1e-4)
