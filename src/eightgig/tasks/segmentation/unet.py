"""The article's U-Net (2.1.2), to read from top to bottom.

With K classes and the first level C channels wide (64 in the article), for images N x 3 x H x W:

    level 1   N x C  x H   x W     two 3 x 3 convolutions ------------------------------> level 1   N x C  x H   x W
    level 2   N x 2C x H/2 x W/2   max-pooling, two convolutions --------> level 2   N x 2C x H/2 x W/2
    level 3   N x 4C x H/4 x W/4   likewise ----------> level 3   N x 4C x H/4 x W/4
    level 4   N x 8C x H/8 x W/8   likewise -> enlarged twice, beside level 3

and from level 1 on the right a 1 x 1 convolution gives N x K x H x W. Going up, a level is enlarged by bilinear
interpolation, put beside the one of its size that came down, and convolved twice.

Source: Ronneberger et al., "U-Net", 2015, with the article's changes: convolutions keep the size, BatchNorm follows
each, interpolation takes the place of transposed convolutions, and there are four levels instead of five.
"""

import re
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from eightgig.core.errors import ConfigurationError

_FIRST_WIDTH, _LEVELS = 64, 4
_NAME = re.compile(r"unet(?:_x(\d+)_(\d+))?")


class UNet(nn.Module):
    """U-Net of four levels: images_N3HW -> logits_NKHW.

    Any height and width will do: sides that are not divisible by 8 are filled up by repeating the border, and cut off
    again at the end.

    Args:
        num_classes: K.
        width: C, channels of the first level; the article's is 64.
    """

    def __init__(self, num_classes: int, *, width: int = _FIRST_WIDTH) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(_LEVELS)]
        self.down = nn.ModuleList(_double_convolution(a, b) for a, b in pairwise((3, *widths)))
        self.up = nn.ModuleList(_double_convolution(b + a, a) for a, b in reversed([*pairwise(widths)]))
        self.head = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, images_N3HW: Tensor) -> Tensor:
        """Return logits_NKHW in the size of the images."""
        height, width = images_N3HW.shape[2:]
        levels = [self.down[0](_filled_up(images_N3HW))]
        for convolve in list(self.down)[1:]:
            levels.append(convolve(functional.max_pool2d(levels[-1], 2)))
        features = levels.pop()
        for convolve in self.up:
            # Not from corner to corner (align_corners): docs/decisions/0016.
            larger = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = convolve(torch.cat([larger, levels.pop()], dim=1))
        logits: Tensor = self.head(features)
        return logits[:, :, :height, :width]


def build_unet(name: str, *, num_classes: int) -> UNet:
    """Return the U-Net of a name: `unet` is the article's, `unet_x0_25` has a quarter of its channels in each layer.

    Raises:
        ConfigurationError: another name, or a share of the channels that leaves none or is above 4.
    """
    found = _NAME.fullmatch(name)
    share = float(f"{found[1]}.{found[2]}") if found and found[1] else 1.0
    width = round(_FIRST_WIDTH * share)
    if not found or not 1 <= width <= 4 * _FIRST_WIDTH:
        raise ConfigurationError(
            f"model `{name}`: wanted `unet`, or `unet_x0_25` with the share of its {_FIRST_WIDTH} channels (here 0.25, "
            "at most 4)."
        )
    return UNet(num_classes, width=width)


def is_unet(name: str) -> bool:
    """Tell whether `name` is meant as a U-Net of this module."""
    return name.startswith("unet")


def _filled_up(images_N3HW: Tensor) -> Tensor:
    below, right = (-length % 2 ** (_LEVELS - 1) for length in images_N3HW.shape[2:])
    if not below and not right:
        return images_N3HW
    return functional.pad(images_N3HW, (0, right, 0, below), mode="replicate")


def _double_convolution(channels_in: int, channels_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        layers += [nn.Conv2d(channels, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
