"""Offloading: what the backward pass needs waits in the machine's memory instead of the card's."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

_SMALLEST_BYTES = 1 << 20  # a transfer of less costs more time than it is worth memory


def offloaded() -> saved_tensors_hooks:
    """Give a context in which saved activations of 1 MiB and more go to pinned memory of the host, until needed.

    Weights stay where they are: they are on the card anyway.
    """
    return saved_tensors_hooks(_to_host, _to_device)


def _to_host(tensor: Tensor) -> Any:
    small = tensor.numel() * tensor.element_size() < _SMALLEST_BYTES
    if small or isinstance(tensor, nn.Parameter) or tensor.device.type == "cpu":
        return tensor
    pinned = tensor.device.type == "cuda"
    host = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="cpu", pin_memory=pinned)
    host.copy_(tensor, non_blocking=pinned)
    return tensor.device, host


def _to_device(packed: Any) -> Tensor:
    if isinstance(packed, Tensor):
        return packed
    device, host = packed
    tensor: Tensor = host.to(device, non_blocking=True)
    return tensor
