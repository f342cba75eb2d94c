"""What is handed from one stage to the next: tensors with their gradients, and where the random numbers are."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from eightgig.vram.pipelining.flow import TensorSpec


class Generators:
    """The states of torch's generators as a tensor that is sent along, so that dropout goes on where it was.

    Args:
        device: that the network computes on; the CPU's generator is always among them.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.shape = tuple(self.state().shape)

    def state(self) -> Tensor:
        """Return the states, each byte as a float32: what crosses has to have a type that gradients have."""
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        return torch.cat(states).to(self._device, torch.float32)

    def restore(self, state: Tensor) -> None:
        """Go on from states that `state` gave."""
        states = state.detach().to("cpu", torch.uint8)
        length = torch.get_rng_state().numel()
        torch.set_rng_state(states[:length].contiguous())
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(states[length:].contiguous(), self._device)


def as_sent(tensor: Tensor, spec: TensorSpec) -> Tensor:
    """Return a tensor as one block of memory, in the order in which it lies there."""
    if not spec.channels_last:
        return tensor.contiguous()
    return tensor.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


def as_used(tensor: Tensor, spec: TensorSpec) -> Tensor:
    """Return what `as_sent` gave with its axes in their places."""
    return tensor.permute(0, 3, 1, 2) if spec.channels_last else tensor


def buffer(spec: TensorSpec, device: torch.device) -> Tensor:
    """Return room for what is sent."""
    return torch.empty(spec.sent_shape, dtype=spec.dtype, device=device)


class Received(Function):
    """What was received, so that each of it gets a gradient, zeros where nothing needed it: the sender waits for it."""

    @staticmethod
    def forward(_: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors."""
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients, laid out as they are sent."""
        return tuple(gradient.contiguous() for gradient in gradients)
