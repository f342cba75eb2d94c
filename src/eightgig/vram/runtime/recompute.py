"""Activation checkpointing: keep less of a block than it makes, and compute the rest again in the backward pass."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from eightgig.vram.plan import Checkpointing

# What is expensive to compute again: convolutions, matrix products, attention. Normalisation and activations are cheap.
_EXPENSIVE_OPS = {
    "aten::convolution",
    "aten::mm",
    "aten::addmm",
    "aten::bmm",
    "aten::baddbmm",
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_efficient_attention",
    "aten::_scaled_dot_product_cudnn_attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
}


def apply_checkpointing(module: nn.Module, level: Checkpointing = "full") -> nn.Module:
    """Make every block of `module` recompute itself, in place; give the module.

    With `full` only what enters a block is kept; with `selective` also what its convolutions, matrix products and
    attention give, so that only cheap ops run twice; with `none` nothing is changed.

    A block is a child of the longest container (nn.Sequential or nn.ModuleList) of children that hold weights: the
    stages of an EfficientNet, the layers of a transformer. In ResNets these are the blocks of each `layer`.
    """
    if level != "none":
        for block in blocks_of(module):
            _recompute(block, level)
    return module


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """Return the blocks that a network is a sequence of, as `apply_checkpointing` has it."""
    containers = [part for part in module.modules() if isinstance(part, nn.Sequential | nn.ModuleList)]
    chosen: list[nn.Module] = []
    inside: set[int] = set()
    for container in containers:  # from the outermost inwards: a block within a block is not wrapped twice
        if id(container) in inside:
            continue
        children = [child for child in container.children() if _is_block(child)]
        if len(children) > 1:
            chosen += children
            inside.update(id(part) for child in children for part in child.modules())
    return chosen


def _is_block(module: nn.Module) -> bool:
    return sum(1 for weight in module.parameters() if weight.dim() > 1) > 1  # transformers has layers of its own


def _recompute(block: nn.Module, level: Checkpointing) -> None:
    forward: Callable[..., Any] = block.forward
    if level == "selective":
        _disable_in_place(block)

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        if level == "full":
            return nullcontext(), _frozen_statistics(block)
        keep, reuse = create_selective_checkpoint_contexts(_keep_expensive)
        return keep, _both(_frozen_statistics(block), reuse)

    def recomputing_forward(*inputs: Any, **options: Any) -> Any:
        if not block.training:
            return forward(*inputs, **options)
        return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **options)

    block.forward = recomputing_forward


def _disable_in_place(block: nn.Module) -> None:
    # A convolution's result that is kept must not be overwritten by the activation after it.
    for part in block.modules():
        if getattr(part, "inplace", False):
            setattr(part, "inplace", False)  # noqa: B010  of modules in general


def _keep_expensive(_: Any, op: Any, *__: Any, **___: Any) -> CheckpointPolicy:
    is_expensive = isinstance(op, torch._ops.OpOverload) and op._schema.name in _EXPENSIVE_OPS
    return CheckpointPolicy.MUST_SAVE if is_expensive else CheckpointPolicy.PREFER_RECOMPUTE


@contextmanager
def _both(first: AbstractContextManager[Any], second: AbstractContextManager[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(first)
        stack.enter_context(second)
        yield


@contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Let BatchNorm's running statistics move once a step: the second forward pass must not count again."""
    norms = [part for part in block.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    counts = [None if tracked is None else tracked.clone() for _, tracked in before]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, tracked), count in zip(norms, before, counts, strict=True):
            norm.momentum = momentum
            if tracked is not None and count is not None:
                tracked.copy_(count)
