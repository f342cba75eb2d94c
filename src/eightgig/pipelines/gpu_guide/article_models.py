"""The two networks that the article writes itself, until their case studies bring them (`models/`)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


def unet(num_classes: int) -> nn.Module:
    """Give the article's U-Net: four levels, bilinear upsampling (article 2.1.2). Sides must be divisible by 8."""
    return _UNet(num_classes)


def actor_critic(num_states: int, num_actions: int, hidden: int) -> nn.Module:
    """Give the article's policy and value networks as one module (article 2.3)."""
    return _ActorCritic(num_states, num_actions, hidden)


def _double_conv(channels_in: int, channels_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        layers += [nn.Conv2d(channels, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class _UNet(nn.Module):
    def __init__(self, num_classes: int, widths: tuple[int, ...] = (64, 128, 256, 512)) -> None:
        super().__init__()
        self.down = nn.ModuleList(_double_conv(a, b) for a, b in pairwise((3, *widths)))
        self.up = nn.ModuleList(_double_conv(a + b, a) for a, b in pairwise(widths))
        self.head = nn.Conv2d(widths[0], num_classes, kernel_size=1)

    def forward(self, images_N3HW: Tensor) -> Tensor:
        levels = [self.down[0](images_N3HW)]
        for block in list(self.down)[1:]:
            levels.append(block(functional.max_pool2d(levels[-1], 2)))
        features = levels.pop()
        for block in reversed(list(self.up)):
            wider = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
            features = block(torch.cat([wider, levels.pop()], dim=1))
        return self.head(features)


def _perceptron(num_inputs: int, hidden: int, num_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(num_inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_outputs),
    )


class _ActorCritic(nn.Module):
    def __init__(self, num_states: int, num_actions: int, hidden: int) -> None:
        super().__init__()
        self.policy = _perceptron(num_states, hidden, num_actions)
        self.value = _perceptron(num_states, hidden, 1)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy(states), self.value(states).squeeze(-1)
