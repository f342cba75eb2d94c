"""A first prediction of training memory: what autograd saves, counted without computing it, at two batch sizes.

The network runs on torch's `meta` device, where tensors have shapes and no values: nothing is allocated, and a network
of any size takes about a second. The count is exact for the tensors that autograd keeps; it knows nothing of the
allocator's rounding, of temporaries inside kernels or of cuDNN's workspaces, for which the planner keeps a margin.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eightgig.vram.plan import Precision

# Workspace of one cuBLAS handle on one stream: 2 x 4 MiB + 8 x 16 KiB, torch's default :4096:2:16:8 (seen as
# 8,519,680 B in allocator snapshots of real runs). Training uses two, inference one; Hopper has 32 MiB each.
CUBLAS_WORKSPACE_BYTES = 8_519_680

METHOD = "tensors saved by autograd, counted on the meta device at two batch sizes and extrapolated"


@dataclass(frozen=True)
class Affine:
    """Bytes as a straight line over the batch size."""

    fixed: float
    per_sample: float

    def at(self, batch_size: int) -> int:
        """Bytes at a batch size, never below zero."""
        return max(0, round(self.fixed + self.per_sample * batch_size))

    @classmethod
    def through(cls, first: tuple[int, int], second: tuple[int, int]) -> "Affine":
        """Fit the line through two (batch size, bytes) points."""
        slope = (second[1] - first[1]) / (second[0] - first[0])
        return cls(fixed=first[1] - slope * first[0], per_sample=slope)


@dataclass(frozen=True)
class Footprint:
    """What a network takes, before any choice of batch size.

    Attributes:
        parameter_bytes: weights and buffers.
        gradient_bytes: one gradient for each trained weight.
        optimizer_bytes: AdamW's two moments.
        saved: bytes that a training forward pass keeps for the backward pass, with the input.
        widest: bytes of the widest layer's input and output together, the peak of a pass without gradients.
        has_batch_norm: whether the batch's own statistics are used in training.
    """

    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    saved: Affine
    widest: Affine
    has_batch_norm: bool


Forward = Callable[[nn.Module, int], Tensor]


def measure_footprint(module: nn.Module, forward: Forward, *, precision: Precision) -> Footprint:
    """Count what `module` takes at any batch size, from passes with batches of 2 and 4.

    Args:
        module: in float32; it is moved to the meta device and loses its weights, so give one made for this.
        forward: runs a module on a batch of the given size, made on the device and in the type of its weights.
        precision: of the computation. Under mixed precision, activations take half, and the halved copies of the
            weights are kept for the backward pass.
    """
    trained = sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)
    held = sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
    has_batch_norm = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
    shapes = module.to("meta", torch.float32 if precision == "fp32" else torch.bfloat16).train()
    saved = Affine.through(*((size, _saved_bytes(shapes, forward, size)) for size in (2, 4)))
    widest = Affine.through(*((size, _widest_layer_bytes(shapes, forward, size)) for size in (2, 4)))
    cast_copies = 0 if precision == "fp32" else trained // 2
    return Footprint(
        parameter_bytes=held,
        gradient_bytes=trained,
        optimizer_bytes=2 * trained,
        saved=Affine(saved.fixed + cast_copies, saved.per_sample),
        widest=widest,
        has_batch_norm=has_batch_norm,
    )


def _saved_bytes(module: nn.Module, forward: Forward, batch_size: int) -> int:
    # Storages, not tensors: a view and its base are held once, and parameters are counted elsewhere.
    own = {_storage_key(tensor) for tensor in (*module.parameters(), *module.buffers())}
    held: dict[int, Tensor] = {}  # the tensors are kept so that no key is used twice

    def keep(tensor: Tensor) -> Tensor:
        if _storage_key(tensor) not in own:
            held[_storage_key(tensor)] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward(module, batch_size)
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())


def _storage_key(tensor: Tensor) -> int:
    # On the meta device all addresses are 0; the storage object's own identity tells them apart.
    return int(tensor.untyped_storage()._cdata)


def _widest_layer_bytes(module: nn.Module, forward: Forward, batch_size: int) -> int:
    widest = 0

    def measure(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal widest
        tensors = [value for value in (*inputs, output) if isinstance(value, Tensor)]
        widest = max(widest, sum(t.numel() * t.element_size() for t in tensors))

    leaves = [part for part in module.modules() if not any(True for _ in part.children())]
    handles = [leaf.register_forward_hook(measure) for leaf in leaves]
    try:
        with torch.no_grad():
            forward(module, batch_size)
    finally:
        for handle in handles:
            handle.remove()
    return widest
