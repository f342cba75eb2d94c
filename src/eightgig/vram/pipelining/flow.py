"""What flows between the parts of a network: their calls in order, and which of their outputs later calls need."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec


class Value(NamedTuple):
    """One tensor that a call gives: the position of the call, and of the tensor in its output."""

    call: int
    leaf: int


class TensorSpec(NamedTuple):
    """Shape, type and layout of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool = False

    @classmethod
    def of(cls, tensor: Tensor) -> "TensorSpec":
        """Return those of a tensor."""
        dense = tensor.is_contiguous()
        channels_last = tensor.dim() == 4 and not dense and tensor.is_contiguous(memory_format=torch.channels_last)
        return cls(tuple(tensor.shape), tensor.dtype, channels_last)

    @property
    def sent_shape(self) -> tuple[int, ...]:
        """The shape in which it is sent: as it lies in memory."""
        if not self.channels_last:
            return self.shape
        batch, channels, height, width = self.shape
        return (batch, height, width, channels)

    @property
    def num_bytes(self) -> int:
        """Bytes of its values."""
        return int(torch.Size(self.shape).numel()) * self.dtype.itemsize


@dataclass(frozen=True)
class Call:
    """One call of a part.

    Attributes:
        part: its name in the network.
        leaves: of its output, flattened: a `TensorSpec` for a tensor, anything else as it is.
        structure: of its output.
        needs: outputs of earlier calls that its arguments are made of.
        overwrites: those that it changes in place.
    """

    part: str
    leaves: tuple[object, ...]
    structure: TreeSpec
    needs: frozenset[Value]
    overwrites: frozenset[Value]

    @property
    def tensors(self) -> Iterator[tuple[int, TensorSpec]]:
        """Yield the tensors of its output with their positions."""
        for position, leaf in enumerate(self.leaves):
            if isinstance(leaf, TensorSpec):
                yield position, leaf


@dataclass(frozen=True)
class Flow:
    """The calls of one forward pass; the same for every batch of the same shapes.

    Attributes:
        calls: in their order.
        result_needs: outputs of calls that the network's own output is made of.
        result_overwrites: those that are changed in place after the last call.
    """

    calls: tuple[Call, ...]
    result_needs: frozenset[Value]
    result_overwrites: frozenset[Value]

    def crossing(self, cut: int) -> tuple[Value, ...]:
        """Return what calls before `cut` give and calls from `cut` on need: what is handed over there."""
        return self._crossings[cut]

    @cached_property
    def _crossings(self) -> tuple[tuple[Value, ...], ...]:
        # Once for all passes: each looks up where it begins and where it ends.
        return tuple(self._crossing(cut) for cut in range(len(self.calls) + 1))

    def _crossing(self, cut: int) -> tuple[Value, ...]:
        needed = self.result_needs.union(*(call.needs for call in self.calls[cut:]))
        return tuple(sorted(value for value in needed if value.call < cut))

    @cached_property
    def overwritten(self) -> frozenset[Value]:
        """What is changed in place, wherever."""
        return self.result_overwrites.union(*(call.overwrites for call in self.calls))

    def spec(self, value: Value) -> TensorSpec:
        """Return shape and type of a value."""
        leaf = self.calls[value.call].leaves[value.leaf]
        if not isinstance(leaf, TensorSpec):
            raise TypeError(f"{value} is no tensor")
        return leaf

    def crossing_bytes(self, cut: int) -> int:
        """Return the bytes that are handed over at a cut, one way, for one micro-batch."""
        return sum(self.spec(value).num_bytes for value in self.crossing(cut))

    @cached_property
    def cuts(self) -> tuple[int, ...]:
        """Positions of calls before which the network may be cut."""
        return tuple(cut for cut in range(1, len(self.calls)) if self.objection(cut) is None)

    def objection(self, cut: int) -> str | None:
        """Return why the network cannot be cut before a call; None where it can."""
        before, after = self.calls[:cut], self.calls[cut:]
        if again := {call.part for call in before} & {call.part for call in after}:
            return f"{min(again)} is called before and after it"
        crossing = self.crossing(cut)
        if any(not self.spec(value).dtype.is_floating_point for value in crossing):
            return "what is handed over there has no gradients"
        if overwritten := frozenset(crossing) & self.result_overwrites.union(*(call.overwrites for call in after)):
            return f"what {self.calls[min(overwritten).call].part} gives is changed in place after it"
        return None

    def calls_of(self, parts: frozenset[str]) -> range:
        """Return the positions of the calls of a stage's parts, which follow each other.

        Raises:
            ValueError: they do not, or none is called.
        """
        own = [position for position, call in enumerate(self.calls) if call.part in parts]
        if not own or own != list(range(own[0], own[-1] + 1)):
            raise ValueError(f"the parts of a stage are not called one after the other: {', '.join(sorted(parts)[:3])}")
        return range(own[0], own[-1] + 1)
