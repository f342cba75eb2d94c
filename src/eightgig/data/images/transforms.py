"""From a decoded image to a training sample: the crop on the CPU in uint8, the colours on the device at once."""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch

from eightgig.core.device import to_device
from eightgig.data.images.decoding import Pixels
from eightgig.data.images.parameters import AugmentParameters

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_GREY = (0.2989, 0.587, 0.114)  # torchvision's weights
_CROP_TRIES = 10
_AREA_FROM = 1.5


class CropBox(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


def random_resized_crop_box(
    height: int,
    width: int,
    rng: random.Random,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> CropBox:
    """Return a random box inside an image of height x width, by the rule of torchvision's RandomResizedCrop.

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        rng: where the randomness comes from.
        scale: smallest and largest share of the area.
        ratio: smallest and largest width / height; drawn evenly in its logarithm.
    """
    for _ in range(_CROP_TRIES):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top, left = rng.randint(0, height - box_height), rng.randint(0, width - box_width)
            return CropBox(top, left, box_height, box_width)
    return _largest_middle_box(height, width, ratio)


def _largest_middle_box(height: int, width: int, ratio: tuple[float, float]) -> CropBox:
    aspect = min(max(width / height, ratio[0]), ratio[1])
    box_width = max(min(width, round(height * aspect)), 1)
    box_height = max(min(height, round(width / aspect)), 1)
    return CropBox((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def center_crop_box(height: int, width: int, resize_ratio: float = 0.875) -> CropBox:
    """Return the middle square whose side is `resize_ratio` of the shorter side.

    Resized to 224 with ratio 0.875, this is torchvision's "resize the short side to 256, crop the middle 224".
    """
    side = max(round(min(height, width) * resize_ratio), 1)
    return CropBox((height - side) // 2, (width - side) // 2, side, side)


def crop_resize_into(image_HWC: Pixels, box: CropBox, out_HWC: Pixels, flip: bool = False) -> None:
    """Write the `box` of an image into `out_HWC`, resized to its size and mirrored left to right on request.

    Both are uint8, height x width x 3; `out_HWC` is contiguous. Shrinking averages areas, growing is bilinear; so is
    shrinking by less than 1.5, where it is as near to Pillow's bicubic as Pillow's own bilinear is (1.1 to 1.3 of 255
    on photos) at a fifth of the time.
    """
    part_HWC = image_HWC[box.top : box.top + box.height, box.left : box.left + box.width]
    out_height, out_width = out_HWC.shape[:2]
    shrinks = max(box.height / out_height, box.width / out_width) >= _AREA_FROM
    rule = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    cv2.resize(part_HWC, (out_width, out_height), dst=out_HWC, interpolation=rule)
    if flip:
        cv2.flip(out_HWC, 1, dst=out_HWC)


class DeviceColour(torch.nn.Module):
    """Turns a uint8 batch into a normalised float32 batch; in training mode it varies the colours on the way.

    Brightness, contrast and saturation, in this order, and the normalisation are all affine in a pixel's RGB, so
    they fold into one 3 x 4 matrix an image and one clamp at the end. torchvision's ColorJitter differs in two ways:
    it shuffles the order, and it clamps to [0, 1] after each step. Where no step leaves [0, 1] both give the same;
    elsewhere this one keeps slightly more of the extremes until the final clamp.

    Args:
        augment: how strongly the colours vary; None never varies them.
        mean: of each channel, on the scale 0 to 1.
        std: of each channel, on the scale 0 to 1.
    """

    mean: torch.Tensor
    std: torch.Tensor
    grey: torch.Tensor

    def __init__(
        self,
        augment: AugmentParameters | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.augment = augment
        # Not weights: they follow the module to its device but do not go into a checkpoint.
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)
        self.register_buffer("grey", torch.tensor(_GREY), persistent=False)

    def forward(
        self,
        images_N3HW: torch.Tensor,
        *,
        factors: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Return the float32 batch, N x 3 x H x W in the memory format that came in.

        Args:
            images_N3HW: uint8, 0 to 255.
            factors: brightness, contrast and saturation of each image; drawn where None, in training mode only.
            generator: the source of the drawing, on the CPU; torch's own where None.
        """
        if factors is None and self.training and self.augment is not None:
            factors = self.draw_factors(len(images_N3HW), self.augment, generator)
        if factors is None:
            matrices, shifts = self._normalisation(len(images_N3HW))
        else:
            matrices, shifts = self._fold(_channel_means(images_N3HW), to_device(factors, self.mean.device))
        low_3, high_3 = -self.mean / self.std, (1 - self.mean) / self.std
        transform = _transform_on_cpu if images_N3HW.device.type == "cpu" else _transform
        return transform(images_N3HW, torch.cat([matrices, shifts[:, :, None]], 2), low_3, high_3)

    @staticmethod
    def draw_factors(
        num_images: int, augment: AugmentParameters, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Draw brightness, contrast and saturation factors, float32 N x 3 on the CPU, so any device gets the same."""
        strengths_3 = torch.tensor([augment.brightness, augment.contrast, augment.saturation])
        return 1 + strengths_3 * (2 * torch.rand(num_images, 3, generator=generator) - 1)

    def _normalisation(self, num_images: int) -> tuple[torch.Tensor, torch.Tensor]:
        matrix_33, shift_3 = torch.diag(1 / (255 * self.std)), -self.mean / self.std
        return matrix_33.expand(num_images, 3, 3), shift_3.expand(num_images, 3)

    def _fold(self, means: torch.Tensor, factors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each image's matrix (N x 3 x 3) and shift (N x 3) from 0-to-255 values to normalised ones.

        Brightness makes b x of x; contrast then c x + (1 - c) m, m being the image's mean grey; saturation then
        s x + (1 - s) grey(x). No matrix products here: autocast would round them to 16 bits.
        """
        brightness_N, contrast_N, saturation_N = factors.unbind(1)
        grey_mean_N = (means * self.grey).sum(1) / 255 * brightness_N
        share = saturation_N[:, None, None]
        saturate = share * torch.eye(3, device=share.device) + (1 - share) * self.grey.expand(3, 3)
        matrices = (brightness_N * contrast_N / 255)[:, None, None] * saturate
        shifts = ((1 - contrast_N) * grey_mean_N)[:, None] * saturate.sum(2)
        return matrices / self.std[:, None], (shifts - self.mean) / self.std


def _channel_means(images_N3HW: torch.Tensor) -> torch.Tensor:
    """Return the mean of each image's channels, float32 N x 3 on the images' device, 0 to 255."""
    if images_N3HW.device.type != "cpu":
        return images_N3HW.float().mean((2, 3))
    return torch.tensor([cv2.mean(image_HWC)[:3] for image_HWC in _as_arrays(images_N3HW)])


def _as_arrays(images_N3HW: torch.Tensor) -> Pixels:
    """Return the images as N x H x W x 3; copies nothing where they are channels last in memory."""
    return images_N3HW.permute(0, 2, 3, 1).contiguous().numpy()


def _transform(
    images_N3HW: torch.Tensor, affine: torch.Tensor, low_3: torch.Tensor, high_3: torch.Tensor
) -> torch.Tensor:
    """Multiply each pixel by its image's 3 x 4 `affine` and clamp each channel; element by element, on any device."""
    values_N3HW = images_N3HW.float()
    columns = affine[:, :, :, None, None].unbind(2)
    result_N3HW = torch.mul(values_N3HW[:, 0:1], columns[0], out=torch.empty_like(values_N3HW))
    result_N3HW.addcmul_(values_N3HW[:, 1:2], columns[1]).addcmul_(values_N3HW[:, 2:3], columns[2]).add_(columns[3])
    return result_N3HW.clamp_(low_3.view(3, 1, 1), high_3.view(3, 1, 1))


def _transform_on_cpu(
    images_N3HW: torch.Tensor, affine: torch.Tensor, low_3: torch.Tensor, high_3: torch.Tensor
) -> torch.Tensor:
    """Do the same image by image with OpenCV, some ten times faster: what it works on stays in the cache."""
    images_NHW3 = _as_arrays(images_N3HW)
    result_NHW3 = np.empty(images_NHW3.shape, dtype=np.float32)  # NumPy asks Linux for huge pages, torch does not
    values_HWC = np.empty(images_NHW3.shape[1:], dtype=np.float32)
    low_HWC, high_HWC = (np.tile(bound_3.numpy(), (*values_HWC.shape[:2], 1)) for bound_3 in (low_3, high_3))
    for image_HWC, result_HWC, matrix in zip(images_NHW3, result_NHW3, affine.numpy(), strict=True):
        np.copyto(values_HWC, image_HWC)
        cv2.transform(values_HWC, matrix, dst=result_HWC)
        cv2.max(result_HWC, low_HWC, dst=result_HWC)
        cv2.min(result_HWC, high_HWC, dst=result_HWC)
    return torch.from_numpy(result_NHW3).permute(0, 3, 1, 2)
