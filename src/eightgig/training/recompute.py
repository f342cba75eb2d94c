"""Activation checkpointing: keep only what enters a block, and compute the block again in the backward pass."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def apply_checkpointing(module: nn.Module) -> nn.Module:
    """Make every block of `module` recompute itself, in place; give the module.

    A block is a child of the longest container (nn.Sequential or nn.ModuleList) of children that hold weights: the
    stages of an EfficientNet, the layers of a transformer. In ResNets these are the blocks of each `layer`.
    """
    for block in _blocks(module):
        _recompute(block)
    return module


def _blocks(module: nn.Module) -> list[nn.Module]:
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
    return sum(1 for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)) > 1


def _recompute(block: nn.Module) -> None:
    forward: Callable[..., Any] = block.forward

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _frozen_statistics(block)

    def recomputing_forward(*inputs: Any, **options: Any) -> Any:
        if not block.training:
            return forward(*inputs, **options)
        return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **options)

    block.forward = recomputing_forward


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
