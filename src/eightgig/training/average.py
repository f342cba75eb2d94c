"""A moving average of a network's weights: steadier than those of the last step, and what is validated and kept."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from eightgig.training.distributed.sharding import local_tensor


class WeightAverage:
    """The exponential moving average of a module's floating-point weights and buffers, beside the module.

    Its values take the module's place while it is evaluated, by exchange: so it works whatever the module's forward
    pass goes through (checkpointing, several processes), and takes the memory of the weights once.

    Args:
        module: on its device; its present values are where the average starts.
        decay: share of the old average that one step keeps, once it is warm.
        ramp_steps: the decay of step n is `decay * (1 - exp(-n / ramp_steps))`, so that the random start is forgotten.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim. 30
    (1992); the ramp as the published YOLOv5 recipe has it.
    """

    def __init__(self, module: nn.Module, *, decay: float, ramp_steps: int) -> None:
        self._decay, self._ramp_steps = decay, ramp_steps
        self._tensors = [local_tensor(tensor.detach()) for tensor in _state(module) if tensor.is_floating_point()]
        self._averages = [tensor.detach().clone() for tensor in self._tensors]
        self.num_steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take the module's weights into the average, after an optimizer step."""
        self.num_steps += 1
        weight = 1 - self._decay * (1 - math.exp(-self.num_steps / self._ramp_steps))
        torch._foreach_lerp_(self._averages, self._tensors, weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the module hold the average for a while; the weights of training come back whatever happens."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for tensor, average in zip(self._tensors, self._averages, strict=True):
            weight = tensor.clone()  # one tensor at a time, so that the exchange takes no second copy of the network
            tensor.copy_(average)
            average.copy_(weight)


class WithAverage(nn.Module):
    """A module with a frozen copy of what `WeightAverage` averages, as the memory planner must count it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        floats = [tensor for tensor in _state(module) if tensor.is_floating_point()]
        for position, tensor in enumerate(floats):
            self.register_buffer(f"average_{position}", torch.empty_like(tensor))

    def forward(self, *inputs: Tensor) -> object:
        """Run the module."""
        return self.module(*inputs)


def _state(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
