"""How far a network looks: what two tiles must share so that neither misses anything."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

_SIDE, _TRIES = 256, 3


def receptive_radius(module: nn.Module, *, share: float = 0.99, side: int = _SIDE) -> int:
    """Return the distance in pixels within which `share` of what decides a pixel's logits lies, side / 2 at most.

    It is measured: the gradients of a middle pixel's logits by the pixels around it, on noise, their sizes added up by
    distance (the larger of the two directions).

    Args:
        module: images_N3HW to logits_NKHW; on the CPU, not changed.
        share: 0 to 1.
        side: of the noise, pixels.

    Source: Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", 2016.
    """
    was_training = module.training
    generator = torch.Generator().manual_seed(0)
    by_distance = sum(_mass_by_distance(module.eval(), side, generator) for _ in range(_TRIES))
    module.train(was_training)
    within = np.cumsum(by_distance) / np.sum(by_distance)
    return int(np.searchsorted(within, share))


def _mass_by_distance(module: nn.Module, side: int, generator: torch.Generator) -> NDArray[np.float64]:
    with torch.inference_mode(mode=False), torch.enable_grad():
        noise_N3HW = torch.randn(1, 3, side, side, generator=generator).requires_grad_()
        logits_NKHW = module(noise_N3HW)
        middle_K = logits_NKHW[0, :, side // 2, side // 2]
        (gradient,) = torch.autograd.grad(
            (middle_K * torch.randn(len(middle_K), generator=generator)).sum(), noise_N3HW
        )
    mass_HW = gradient[0].abs().sum(0).numpy().astype(np.float64)
    away = np.abs(np.arange(side) - side // 2)
    distances_HW = np.maximum(away[:, None], away[None])
    mass: NDArray[np.float64] = np.bincount(distances_HW.ravel(), weights=mass_HW.ravel()).astype(np.float64)
    return mass
