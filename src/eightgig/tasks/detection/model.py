"""YOLOv5 (n, s, m, l, x): a convolutional detector with three anchor heads, from its published description.

    images N x 3 x H x W -> backbone (C3 blocks, strides 4 to 32) -> neck (down to stride 8 and up again) -> three maps

Sizes, channels and formulas: Jocher et al., "YOLOv5", v6.0 to v7.0, architecture summary (docs.ultralytics.com); C3 is
the cross-stage block of Wang et al., "CSPNet", 2019; the neck is Liu et al., "Path Aggregation ImageNetwork", 2018.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eightgig.core.errors import ConfigurationError, WeightsError
from eightgig.models.network import ImageNetwork
from eightgig.models.weights import RANDOM, load_from, read_state_dict
from eightgig.tasks.detection.yolov5_checkpoint import is_pickled_network, read_yolov5_checkpoint

RawMaps = tuple[Tensor, ...]
"""One map a level, each N x A x H/stride x W/stride x (5 + K): box 4, objectness 1, classes K; before any sigmoid."""

Anchors = Sequence[Sequence[Sequence[float]]] | Tensor
"""Levels x anchors x (width, height), pixels."""

STRIDES = (8, 16, 32)
# Found by clustering the boxes of COCO's training images at 640.
COCO_ANCHORS = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)
IMAGE_SIZE = 640


class Multiples(NamedTuple):
    """What makes one size of the family of another: shares of the full depth and width."""

    depth: float
    width: float


SIZES = {
    "yolov5n": Multiples(0.33, 0.25),
    "yolov5s": Multiples(0.33, 0.50),
    "yolov5m": Multiples(0.67, 0.75),
    "yolov5l": Multiples(1.00, 1.00),
    "yolov5x": Multiples(1.33, 1.25),
}


class Conv(nn.Sequential):
    """A convolution without bias, batch normalisation and SiLU; the size is kept but for the stride."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, padding: int | None = None
    ) -> None:
        padding = kernel // 2 if padding is None else padding
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU()


class Bottleneck(nn.Module):
    """1 x 1 and 3 x 3 convolutions of one width, with the input added where `shortcut`."""

    def __init__(self, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.point, self.space = Conv(channels, channels), Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return N x channels x H x W."""
        y: Tensor = self.space(self.point(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    """Half the channels go through `repeats` bottlenecks, half go past them; a third convolution joins both."""

    def __init__(self, in_channels: int, out_channels: int, repeats: int, *, shortcut: bool = True) -> None:
        super().__init__()
        half = out_channels // 2
        self.enter, self.skip = Conv(in_channels, half), Conv(in_channels, half)
        self.join = Conv(2 * half, out_channels)
        self.blocks = nn.Sequential(*[Bottleneck(half, shortcut=shortcut) for _ in range(repeats)])

    def forward(self, x: Tensor) -> Tensor:
        """Return N x out_channels x H x W."""
        joined: Tensor = self.join(torch.cat([self.blocks(self.enter(x)), self.skip(x)], 1))
        return joined


class SPPF(nn.Module):
    """The features beside their maxima over windows of 5, 9 and 13, as three poolings of 5 one after the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter, self.join = Conv(channels, channels // 2), Conv(2 * channels, channels)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return N x channels x H x W."""
        first = self.enter(x)
        second = self.pool(first)
        third = self.pool(second)
        joined: Tensor = self.join(torch.cat([first, second, third, self.pool(third)], 1))
        return joined


class Neck(nn.Module):
    """Carries what the deep maps know to the fine ones, and back: three maps in, three of the same sizes out."""

    def __init__(self, channels_345: tuple[int, int, int], repeats: int) -> None:
        super().__init__()
        c3, c4, c5 = channels_345
        self.narrow = nn.ModuleList([Conv(c5, c4), Conv(c4, c3)])
        self.down = nn.ModuleList([Conv(c3, c3, 3, 2), Conv(c4, c4, 3, 2)])
        # In one list, so that `apply_checkpointing` finds them as blocks.
        widths = ((2 * c4, c4), (2 * c3, c3), (2 * c3, c4), (2 * c4, c5))
        self.merge = nn.ModuleList([C3(wide, narrow, repeats, shortcut=False) for wide, narrow in widths])

    def forward(self, p3: Tensor, p4: Tensor, p5: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps at strides 8, 16 and 32."""
        top = self.narrow[0](p5)  # c4 x H/32
        middle = self.merge[0](torch.cat([_doubled(top), p4], 1))  # c4 x H/16
        middle = self.narrow[1](middle)  # c3 x H/16
        fine = self.merge[1](torch.cat([_doubled(middle), p3], 1))  # c3 x H/8
        middle = self.merge[2](torch.cat([self.down[0](fine), middle], 1))  # c4 x H/16
        top = self.merge[3](torch.cat([self.down[1](middle), top], 1))  # c5 x H/32
        return fine, middle, top


class YoloV5(nn.Module):
    """Images in, three raw maps out, in training and in evaluation mode alike.

    Args:
        multiples: of depth and width.
        num_classes: K, at least 1.
        anchors: 3 levels x 3 anchors x (width, height), pixels; kept as the buffer `anchors`.
    """

    anchors: Tensor

    def __init__(self, multiples: Multiples, num_classes: int, anchors: Anchors = COCO_ANCHORS) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = (_width(full, multiples) for full in (64, 128, 256, 512, 1024))
        n2, n3, n4, n5 = (_depth(full, multiples) for full in (3, 6, 9, 3))
        self.num_classes = num_classes
        self.backbone = nn.Sequential(
            nn.Sequential(Conv(3, c1, 6, 2, padding=2), Conv(c1, c2, 3, 2)),  # c1 x H/2, c2 x H/4
            C3(c2, c2, n2),  # c2 x H/4
            nn.Sequential(Conv(c2, c3, 3, 2), C3(c3, c3, n3)),  # c3 x H/8
            nn.Sequential(Conv(c3, c4, 3, 2), C3(c4, c4, n4)),  # c4 x H/16
            nn.Sequential(Conv(c4, c5, 3, 2), C3(c5, c5, n5), SPPF(c5)),  # c5 x H/32
        )
        self.neck = Neck((c3, c4, c5), n2)
        self.register_buffer("anchors", torch.as_tensor(anchors, dtype=torch.float32).clone())
        num_outputs = self.anchors.shape[1] * (5 + num_classes)
        self.heads = nn.ModuleList([nn.Conv2d(channels, num_outputs, 1) for channels in (c3, c4, c5)])
        for head, stride in zip(self.heads, STRIDES, strict=True):
            _start_head(head, stride, num_classes)

    def forward(self, images_N3HW: Tensor) -> RawMaps:
        """Return the raw maps of float32 images, 0 to 1, whose height and width are multiples of 32."""
        x, levels = images_N3HW, []
        for stage in self.backbone:
            x = stage(x)
            levels.append(x)
        features = self.neck(*levels[-3:])
        return tuple(self._as_map(head(x)) for head, x in zip(self.heads, features, strict=True))

    def decode(self, raw: RawMaps) -> Tensor:
        """Return predictions_NPK of this network's raw maps; see `decode_predictions`."""
        return decode_predictions(raw, self.anchors)

    def get_classifier(self) -> list[nn.Module]:
        """Return the layers whose outputs are counted in classes; the name is timm's."""
        return list(self.heads)

    def _as_map(self, outputs: Tensor) -> Tensor:
        num_images, _, height, width = outputs.shape
        split = outputs.view(num_images, self.anchors.shape[1], 5 + self.num_classes, height, width)
        return split.permute(0, 1, 3, 4, 2)


class WithDecode(nn.Module):
    """A detector from images_N3HW to predictions_NPK, for inference and export."""

    def __init__(self, network: YoloV5) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_N3HW: Tensor) -> Tensor:
        """Return float32 N x P x (5 + K), as `decode_predictions` does."""
        return self.network.decode(self.network(images_N3HW))


def decode_predictions(raw: Sequence[Tensor], anchors: Tensor, strides: Sequence[int] = STRIDES) -> Tensor:
    """Return float32 N x P x (5 + K): centre x, y, width, height in pixels, objectness 0..1, class probabilities 0..1.

    With s the sigmoid of a raw value, a centre is (2 s - 0.5 + cell) stride and a side (2 s)^2 anchor. Half precision
    cannot tell pixels apart beyond 2,048, so all is computed in float32.

    Args:
        raw: N x A x H x W x (5 + K), one a level.
        anchors: levels x A x 2, pixels.
        strides: of the levels, pixels.
    """
    parts = [_decode_level(*level) for level in zip(raw, anchors.to(raw[0].device).float(), strides, strict=True)]
    return torch.cat(parts, 1)


def build_yolov5(name: str, *, weights: str, num_classes: int, anchors: Anchors | None = None) -> ImageNetwork:
    """Return the detector `name` with `num_classes` classes, on the CPU, in float32.

    Heads whose class count differs from the file's start anew; all else must match.

    Args:
        name: yolov5n, yolov5s, yolov5m, yolov5l or yolov5x.
        weights: `none`, or the path of a state dict (.safetensors, .pt, .pth) or of an official checkpoint (.pt).
        num_classes: at least 1.
        anchors: 3 x 3 x (width, height), pixels; None keeps those of the weights, or COCO's.

    Raises:
        ConfigurationError: no such model, or no class.
        WeightsError: the weights cannot be had, or belong to another model.
    """
    if name not in SIZES:
        raise ConfigurationError(f"model `{name}`: wanted one of {', '.join(SIZES)}, found no such detector.")
    if num_classes < 1:
        raise ConfigurationError(f"model `{name}`: wanted at least 1 class, found {num_classes}")
    module = YoloV5(SIZES[name], num_classes)
    source = _load(module, name, weights)
    if anchors is not None:
        module.anchors.copy_(torch.as_tensor(anchors, dtype=torch.float32).view_as(module.anchors))
    return ImageNetwork(module, name, "eightgig", source, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), IMAGE_SIZE)


def _load(module: YoloV5, name: str, weights: str) -> str:
    """Fill `module` from a file, or leave it random; tell which."""
    if weights == "none":
        return RANDOM
    if weights in ("default", "packaged"):
        raise WeightsError(
            f"model `{name}`: wanted {weights} weights, found none: this project has none to give. "
            "Choose weights: none, or the path of a file, for example of an official yolov5s.pt that you have."
        )
    path = Path(weights).expanduser()
    official = is_pickled_network(path)
    tensors = read_yolov5_checkpoint(path).state if official else read_state_dict(path)
    origin = f"official checkpoint {path.name}" if official else f"file {path.name}"
    return load_from(module, tensors, origin=origin)


def _width(full: int, multiples: Multiples) -> int:
    return math.ceil(full * multiples.width / 8) * 8


def _depth(full: int, multiples: Multiples) -> int:
    return max(1, round(full * multiples.depth))


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


@torch.no_grad()
def _start_head(head: nn.Module, stride: int, num_classes: int) -> None:
    """Let the head expect 8 objects in an image of 640 and no class more than another.

    Without, the many cells without an object outweigh all else in the first steps (Lin et al., "Focal Loss", 2017).
    """
    bias: Tensor = head.bias.view(-1, 5 + num_classes)  # type: ignore[operator]
    bias[:, 4] += math.log(8 / (IMAGE_SIZE / stride) ** 2)
    bias[:, 5:] += math.log(0.6 / (num_classes - 0.99999))


def _decode_level(raw_NAHWC: Tensor, anchors_A2: Tensor, stride: int) -> Tensor:
    _, _, height, width, _ = raw_NAHWC.shape
    values = raw_NAHWC.float().sigmoid()
    columns, rows = (torch.arange(n, device=values.device, dtype=torch.float32) for n in (width, height))
    cells_HW2 = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
    centres = (2 * values[..., :2] - 0.5 + cells_HW2) * stride
    sides = (2 * values[..., 2:4]) ** 2 * anchors_A2[:, None, None]
    return torch.cat([centres, sides, values[..., 4:]], -1).flatten(1, 3)
