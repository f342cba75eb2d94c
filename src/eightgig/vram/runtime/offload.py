"""Offloading: what the backward pass needs waits in the machine's memory instead of the card's.

Copies run on a stream of their own beside the network's work. A tensor on its way out is held until a few more have
followed it, and on the way back each one is fetched while the layer before it (in the backward pass) is at work.
"""

import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from eightgig.core.units import MIB, format_bytes

_SMALLEST_BYTES = MIB  # a transfer of less costs more time than it is worth memory
_SLAB_BYTES = 64 * MIB  # a power of two: torch rounds page-locked memory up to one, up to twice what was asked for
_ALIGNMENT = 512  # so that every type may begin anywhere
_IN_FLIGHT = 2  # tensors on their way out: enough to keep the bus busy while the next is computed


class HostMemoryError(RuntimeError):
    """The machine's own memory ran out, not the card's."""


class ActivationOffload:
    """Takes saved activations of 1 MiB and more to page-locked memory of the machine, and brings them back.

    Weights stay where they are, as what shares their memory does: they are on the card anyway. So do tensors that are
    expanded, such as attention masks: they are smaller than they look.

    Args:
        module: whose weights these are.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._memory = _HostMemory()
        self._queue: _Queue | None = None
        self._weights: set[int] = set()

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Offload what is saved in this block; a backward pass may follow at any time.

        Raises:
            HostMemoryError: the machine has too little memory.
        """
        self._memory.reuse()
        if self._queue is not None:
            self._queue.settle()
        self._weights = {weight.untyped_storage()._cdata for weight in self._module.parameters()}
        try:
            with saved_tensors_hooks(self._out, self._back):
                yield
        finally:
            if self._queue is not None:
                self._queue.let_go(0)

    def _out(self, tensor: Tensor) -> Any:
        if _is_on_the_host(tensor) or tensor.nbytes < _SMALLEST_BYTES or _is_expanded(tensor):
            return tensor
        if tensor.untyped_storage()._cdata in self._weights:
            return tensor
        self._queue = self._queue or _Queue(tensor.device)
        return self._queue.out(tensor, self._memory)

    def _back(self, packed: Any) -> Tensor:
        if isinstance(packed, Tensor) or self._queue is None:
            tensor: Tensor = packed
            return tensor
        return self._queue.back(packed)


class _Waiting:
    """A tensor that waits in the machine's memory.

    Attributes:
        before: the one that was saved before it, which the backward pass wants next.
        fetched: it on its way back, where that has begun.
    """

    def __init__(self, tensor: Tensor, parts: list[Tensor], before: "_Waiting | None") -> None:
        self.shape, self.dtype, self.device = tensor.shape, tensor.dtype, tensor.device
        self.stride = tensor.stride() if _is_dense(tensor) else torch.empty(tensor.shape, device="meta").stride()
        self.parts = parts
        self.before = weakref.ref(before) if before is not None else lambda: None
        self.fetched: Tensor | None = None
        self.is_back: Any = None


class _Queue:
    """The way between a device and the machine's memory; on CUDA a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._leaving: deque[tuple[Tensor, Any]] = deque()
        self._last: weakref.ref[_Waiting] | None = None

    @torch.no_grad()
    def out(self, tensor: Tensor, memory: "_HostMemory") -> _Waiting:
        """Begin to copy a tensor out; what left long ago is let go."""
        before = self._last() if self._last is not None else None
        waiting = _Waiting(tensor, memory.take(tensor.nbytes, pinned=self._stream is not None), before)
        self._last = weakref.ref(waiting)
        dense = tensor if _is_dense(tensor) else tensor.contiguous()
        with self._beside():
            _transfer(waiting.parts, _bytes_of(dense), outwards=True)
        self._leaving.append((dense, self._mark()))
        self.let_go(_IN_FLIGHT)
        return waiting

    @torch.no_grad()
    def back(self, waiting: _Waiting) -> Tensor:
        """Return a tensor back on its device, and begin to fetch the one that is wanted next."""
        if waiting.fetched is None:
            self._fetch(waiting)
        tensor, waiting.fetched = waiting.fetched, None
        self._wait_for(waiting.is_back)
        following = waiting.before()
        if following is not None and following.fetched is None:
            self._fetch(following)
        assert tensor is not None  # noqa: S101  it was just fetched
        return tensor

    def settle(self) -> None:
        """Let later work on the device wait for all copies: a pass that failed may have left some under way."""
        if self._stream is not None:
            torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)

    def let_go(self, most: int) -> None:
        """Hold at most so many tensors that are on their way out: later work on the device waits for the others."""
        while len(self._leaving) > most:
            _, is_out = self._leaving.popleft()
            self._wait_for(is_out)

    def _fetch(self, waiting: _Waiting) -> None:
        # Taken by the network's own stream, whose allocator's blocks these are; so the copy waits for what it did.
        tensor = torch.empty_strided(waiting.shape, waiting.stride, dtype=waiting.dtype, device=waiting.device)
        with self._beside():
            _transfer(waiting.parts, _bytes_of(tensor), outwards=False)
        waiting.fetched, waiting.is_back = tensor, self._mark()

    @contextmanager
    def _beside(self) -> Iterator[None]:
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            yield

    def _mark(self) -> Any:
        return None if self._stream is None else self._stream.record_event()

    def _wait_for(self, event: Any) -> None:
        if self._stream is not None and event is not None:
            torch.cuda.current_stream(self._stream.device).wait_event(event)


class _HostMemory:
    """Memory of the machine in slabs, given out one piece behind the other, and used again when all is back."""

    def __init__(self) -> None:
        self._slabs: list[Tensor] = []
        self._slab, self._offset = 0, 0
        self._given: weakref.WeakSet[_Pieces] = weakref.WeakSet()

    def reuse(self) -> None:
        """Begin at the first slab again, if nothing that was given out is still in use."""
        if not self._given:
            self._slab, self._offset = 0, 0

    def take(self, num_bytes: int, *, pinned: bool) -> list[Tensor]:
        """Return so many bytes, in as many pieces as it takes."""
        pieces = _Pieces()
        while num_bytes:
            if self._slab == len(self._slabs):
                self._slabs.append(_slab(pinned=pinned))
            size = min(num_bytes, _SLAB_BYTES - self._offset)
            pieces.append(self._slabs[self._slab][self._offset : self._offset + size])
            num_bytes -= size
            self._offset += -(-size // _ALIGNMENT) * _ALIGNMENT
            if self._offset >= _SLAB_BYTES:
                self._slab, self._offset = self._slab + 1, 0
        self._given.add(pieces)
        return pieces


class _Pieces(list[Tensor]):
    """Pieces of slabs; told apart by what they are, not by what is in them."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


def _slab(*, pinned: bool) -> Tensor:
    try:
        return torch.empty(_SLAB_BYTES, dtype=torch.uint8, device="cpu", pin_memory=pinned)
    except RuntimeError as error:  # CUDA calls it "out of memory" here too
        raise HostMemoryError(
            f"the machine's memory ran out while activations were offloaded to it: tried to allocate "
            f"{format_bytes(_SLAB_BYTES)} of page-locked memory ({str(error).partition(chr(10))[0]})"
        ) from error


def _transfer(parts: list[Tensor], of_device: Tensor, *, outwards: bool) -> None:
    places = of_device.split([len(part) for part in parts])
    for part, place in zip(parts, places, strict=True):
        if outwards:
            part.copy_(place, non_blocking=True)
        else:
            place.copy_(part, non_blocking=True)


def _bytes_of(tensor: Tensor) -> Tensor:
    """Return a dense tensor's memory as bytes, in its order."""
    return tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8)


def _is_on_the_host(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def _is_dense(tensor: Tensor) -> bool:
    """Tell whether a tensor's elements fill a stretch of memory, in whatever order, each once."""
    filled = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != filled:
            return False
        filled *= size
    return True


def _is_expanded(tensor: Tensor) -> bool:
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
