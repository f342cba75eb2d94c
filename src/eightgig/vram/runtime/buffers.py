"""Copies of a network's buffers, so that a forward pass can be undone: BatchNorm's statistics and the like."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from eightgig.core.units import MIB

Place = tuple[nn.Module, str]
"""The module that has a buffer, and its name there."""

_LARGE_BYTES = MIB  # statistics of a channel are far smaller; what is larger is a table that shall not stand twice


class BufferCopies:
    """One copy of the buffers, in memory that is taken at the first `take` and kept.

    A network has hundreds of small buffers, and a copy each to the machine's memory would cost milliseconds a step.
    So small ones are copied where they are, all of a type in one call; large ones of a card go to page-locked memory of
    the machine. Nothing waits for the card.

    Args:
        module: whose buffers they are; those that are added later are not copied.
    """

    def __init__(self, module: nn.Module) -> None:
        # Found once, because looking takes longer than copying.
        self._places: list[Place] = [
            (owner, name) for owner in module.modules() for name, _ in owner.named_buffers(recurse=False)
        ]
        self._taken: list[tuple[Place, Tensor]] = []
        self._copies: list[Tensor] = []
        self._flat: list[Tensor] = []

    @property
    def tensors(self) -> list[Tensor]:
        """What the copies take where the small buffers are."""
        return self._flat

    @torch.no_grad()
    def take(self) -> None:
        """Copy all buffers as they are now."""
        found = [(place, getattr(*place)) for place in self._places]
        self._taken = [(place, buffer) for place, buffer in found if isinstance(buffer, Tensor)]
        buffers = [buffer for _, buffer in self._taken]
        if [_layout(buffer) for buffer in buffers] != [_layout(copy) for copy in self._copies]:
            self._make_room(buffers)
        _copy(self._copies, buffers)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the buffers back as they were, in place; one that was replaced is the old tensor again."""
        _copy([buffer for _, buffer in self._taken], self._copies)
        for (owner, name), buffer in self._taken:
            setattr(owner, name, buffer)

    def _make_room(self, buffers: list[Tensor]) -> None:
        rooms: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for buffer in buffers:
            if buffer.nbytes <= _LARGE_BYTES:
                rooms.setdefault((buffer.device, buffer.dtype), []).append(buffer)
        self._flat, views = [], dict[int, Tensor]()
        for (device, dtype), small in rooms.items():
            sizes = [buffer.numel() for buffer in small]
            flat = torch.empty(sum(sizes), dtype=dtype, device=device)
            self._flat.append(flat)
            views |= {id(b): part.view(b.shape) for b, part in zip(small, flat.split(sizes), strict=True)}
        self._copies = [views[id(b)] if id(b) in views else _beside(b) for b in buffers]


def _beside(buffer: Tensor) -> Tensor:
    """Return memory of the machine for a large buffer."""
    return torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu", pin_memory=buffer.is_cuda)


def _layout(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
    return tensor.shape, tensor.dtype


def _copy(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> None:
    """Copy tensor by tensor, all of a kind in one call: kernels of `foreach` take no mixed lists."""
    kinds: dict[tuple[torch.device, torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
    for target, source in zip(targets, sources, strict=True):
        of_kind = kinds.setdefault((target.device, source.device, source.dtype), ([], []))
        of_kind[0].append(target)
        of_kind[1].append(source)
    for (to, out_of, _), (alike, of_them) in kinds.items():
        if to == out_of:
            torch._foreach_copy_(alike, of_them)
            continue
        for target, source in zip(alike, of_them, strict=True):
            target.copy_(source, non_blocking=True)
