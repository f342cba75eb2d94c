"""The processes that train one network together, or the only one."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ProcessGroup:
    """Which of how many processes this is.

    Attributes:
        index: 0 is the one that saves and tracks.
        count: 1 where nothing is distributed; then nothing below communicates.
        device: where what is exchanged has to lie.
        shares_batches: whether each process works on its share of every step's samples; False where each has its
            layers of the network, and all samples pass through all of them.
    """

    index: int
    count: int
    device: torch.device
    shares_batches: bool = True

    @property
    def is_first(self) -> bool:
        """Whether this process saves and tracks for all."""
        return self.index == 0

    @property
    def num_shares(self) -> int:
        """Among how many processes the samples of a step are shared out."""
        return self.count if self.shares_batches else 1

    @property
    def share(self) -> int:
        """Which of these shares is this process's."""
        return self.index if self.shares_batches else 0

    def summed(self, *values: float) -> list[float]:
        """Return each value's sum over all processes, the same in all of them."""
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def largest(self, *values: float) -> list[float]:
        """Return each value's largest over all processes, the same in all of them."""
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX)
        return [float(value) for value in tensor.tolist()]

    def average_buffers(self, buffers: Iterable[Tensor]) -> None:
        """Let BatchNorm's statistics be the mean of those of all processes, and counters the largest."""
        if self.num_shares == 1:
            return
        tensors = list(buffers)
        _exchange(
            [tensor for tensor in tensors if tensor.is_floating_point()], torch.distributed.ReduceOp.SUM, self.count
        )
        _exchange([tensor for tensor in tensors if not tensor.is_floating_point()], torch.distributed.ReduceOp.MAX, 1)


def buffers_of(module: nn.Module) -> list[Tensor]:
    """Return the buffers that training changes and checkpoints keep."""
    names = module.state_dict().keys()
    return [buffer for name, buffer in module.named_buffers() if name in names]


def _exchange(tensors: list[Tensor], operation: "torch.distributed.ReduceOp.RedOpType", divisor: int) -> None:
    if not tensors:
        return
    together = torch.cat([tensor.detach().flatten().to(tensors[0].dtype) for tensor in tensors])
    torch.distributed.all_reduce(together, op=operation)
    parts = (together / divisor if divisor > 1 else together).split([tensor.numel() for tensor in tensors])
    with torch.no_grad():
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))
