"""What the tracer needs to know of an op, looked up once for each: views, matrix products, workspace memory, cost."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

from eightgig.vram.allocator.events import OpCost
from eightgig.vram.allocator.kernels import (
    AttentionKernel,
    AttentionKind,
    ConvolutionKernel,
    ConvolutionKind,
    EmbeddingKernel,
    LayerNormKernel,
    WorkspaceKernel,
)
from eightgig.vram.plan import Precision
from eightgig.vram.tracing.fake_device import is_on_device

# What aten/src/ATen/native/cuda/Blas.cpp hands to cuBLAS or cuBLASLt.
_MATMULS = {"mm", "addmm", "bmm", "baddbmm", "addmv", "mv", "dot", "linear", "_addmm_activation"}
_PRECISIONS: dict[torch.dtype, Precision] = {torch.float16: "fp16", torch.bfloat16: "bf16"}


@dataclass(frozen=True)
class OpFacts:
    """One overload of one op.

    Attributes:
        is_view: its outputs share the memory of its inputs and nothing is computed.
        is_matmul: cuBLAS runs it.
        workspace: from arguments and output to the kernel that takes workspace memory, or None.
    """

    name: str
    is_view: bool
    is_matmul: bool
    moves_nothing: bool
    packet: Any
    workspace: Callable[[Any, Any], WorkspaceKernel | None] | None

    def cost(self, phase: str, args: Any, kwargs: dict[str, Any], out: Any) -> OpCost:
        """Return what one call computes and moves."""
        tensors = [value for value in tree_iter((args, out)) if isinstance(value, Tensor)]
        precision: Precision = next((_PRECISIONS[t.dtype] for t in tensors if t.dtype in _PRECISIONS), "fp32")
        flops = self._flops(args, kwargs, out)
        name = _crossing(args, out) or self.name.removeprefix("aten::")
        return OpCost(name, phase, flops, sum(_bytes(t) for t in tensors), precision)

    def _flops(self, args: Any, kwargs: dict[str, Any], out: Any) -> int:
        if self.name == "aten::convolution":
            return _convolution_flops(args[0], args[1], out, transposed=args[6])
        if self.name == "aten::convolution_backward":  # torch's own count forgets the groups of the weight's gradient
            asked = sum(1 for wanted in args[10][:2] if wanted)
            return asked * _convolution_flops(args[1], args[2], args[0], transposed=args[7])
        count = flop_registry.get(self.packet)
        return int(count(*args, **kwargs, out_val=out)) if count else 0


def _crossing(args: Any, out: Any) -> str | None:
    """Name a copy between the card and the machine, which PCI Express carries."""
    source = next((value for value in reversed(args) if isinstance(value, Tensor)), None)
    if source is None or not isinstance(out, Tensor) or is_on_device(source) == is_on_device(out):
        return None
    return "copy_to_device" if is_on_device(out) else "copy_to_host"


def _convolution_flops(inputs: Tensor, weight: Tensor, outputs: Tensor, *, transposed: bool) -> int:
    places = inputs if transposed else outputs  # where the kernel is applied
    return 2 * places.numel() * weight.shape[1:].numel()


@lru_cache(maxsize=4096)
def facts_of(func: Any) -> OpFacts:
    """Return the facts of an op's overload."""
    if isinstance(func, HigherOrderOperator):
        return OpFacts(func.name(), is_view=False, is_matmul=False, moves_nothing=False, packet=func, workspace=None)
    schema = func._schema
    aliases = [out.alias_info for out in schema.returns]
    is_view = bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)
    base = schema.name.removeprefix("aten::")
    empty = base.startswith(("empty", "new_empty")) or base in {"detach", "lift_fresh", "_local_scalar_dense"}
    return OpFacts(
        name=schema.name,
        is_view=is_view,
        is_matmul=base in _MATMULS,
        moves_nothing=empty,
        packet=func._overloadpacket,
        workspace=_WORKSPACES.get(base),
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _convolution(args: Any, out: Any) -> ConvolutionKernel | None:
    images, weight, groups = args[0], args[1], args[8]
    return _conv_kernel("convolution", images, weight, out, groups, transposed=bool(args[6]))


def _convolution_backward(args: Any, _: Any) -> ConvolutionKernel | None:
    gradient, images, weight, groups = args[0], args[1], args[2], args[9]
    return _conv_kernel("convolution_backward", images, weight, gradient, groups, transposed=bool(args[7]))


def _conv_kernel(
    kind: ConvolutionKind,
    images: Tensor,
    weight: Tensor,
    out: Tensor,
    groups: int,
    *,
    transposed: bool,
) -> ConvolutionKernel | None:
    if not is_on_device(images):
        return None
    return ConvolutionKernel(
        kind=kind,
        input_bytes=_bytes(images),
        output_bytes=_bytes(out),
        weight_bytes=_bytes(weight),
        element_bytes=images.element_size(),
        groups=groups,
        kernel_size=max(weight.shape[2:]) if weight.dim() > 2 else 1,
        channels_per_group=weight.shape[1],
        channels_last=images.dim() == 4 and images.is_contiguous(memory_format=torch.channels_last),
        transposed=transposed,
    )


def _flash_backward(args: Any, _: Any) -> AttentionKernel:
    return _attention_kernel("flash_attention_backward", args[1])


def _efficient_backward(args: Any, _: Any) -> AttentionKernel:
    return _attention_kernel("efficient_attention_backward", args[1])


def _attention_kernel(kind: AttentionKind, query: Tensor) -> AttentionKernel:
    batch, heads, tokens, head_dim = query.shape
    return AttentionKernel(
        kind=kind, batch=batch, heads=heads, tokens=tokens, head_dim=head_dim, element_bytes=query.element_size()
    )


def _embedding_backward(args: Any, _: Any) -> EmbeddingKernel:
    return EmbeddingKernel(num_indices=args[1].numel())


def _layer_norm_backward(args: Any, _: Any) -> LayerNormKernel:
    return LayerNormKernel(num_features=args[5].numel() if args[5] is not None else 0)


_WORKSPACES: dict[str, Callable[[Any, Any], WorkspaceKernel | None]] = {
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "_scaled_dot_product_flash_attention_backward": _flash_backward,
    "_scaled_dot_product_efficient_attention_backward": _efficient_backward,
    "embedding_dense_backward": _embedding_backward,
    "native_layer_norm_backward": _layer_norm_backward,
}
