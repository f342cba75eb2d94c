"""From the machine's memory to a device without waiting for what the device is doing."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def to_device(tensor: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """Return the tensor on a device; later work there waits for the copy, this process does not.

    CUDA copies from page-locked memory alone behind the program's back: other memory is brought there first.
    """
    if device.type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
