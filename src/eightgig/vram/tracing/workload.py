"""What to trace: a network, its loss and its batches, all without values: only shapes and types play a part."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import init
from torch.utils._python_dispatch import TorchDispatchMode

from eightgig.vram.plan import Checkpointing
from eightgig.vram.runtime.recompute import apply_checkpointing

MakeBatch = Callable[[int], Any]
"""From a number of samples to a batch: tensors on torch's default device, in any nesting of tuples, lists and dicts."""
# Smaller tensors are filled as ever: it takes no time, and some constructors read what they wrote into them.
_LARGE_TENSOR = 4096
# What initialisers end in, and how they go on: seconds for a large network, on weights whose values nobody reads.
_FILLS = {
    *("uniform_", "normal_", "erfinv_", "clamp_", "mul_", "add_", "fill_", "zero_", "copy_", "random_", "bernoulli_"),
}


@dataclass(frozen=True)
class Workload:
    """A network and what is done with it; values play no part, only shapes and types do.

    Attributes:
        module: in float32 on the CPU, as its constructor makes it; no weights need be loaded.
        batch: makes a batch of n samples.
        loss: runs the module on a batch and gives a scalar with gradients.
        evaluate: runs the module on a batch where no gradients are kept; None runs `loss`.
        checkpoint: makes the module recompute its blocks at a level; the default finds the blocks by itself.
    """

    module: nn.Module
    batch: MakeBatch
    loss: Callable[[nn.Module, Any], Tensor]
    evaluate: Callable[[nn.Module, Any], Any] | None = None
    checkpoint: Callable[[nn.Module, Checkpointing], nn.Module] = apply_checkpointing


class _SkipFills(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first: Any = args[0] if args else None
        filled = func._schema.name.removeprefix("aten::") in _FILLS and isinstance(first, Tensor)
        if filled and first.numel() > _LARGE_TENSOR:
            return first
        return func(*args, **(kwargs or {}))


@contextmanager
def skip_initialization() -> Iterator[None]:
    """Leave large tensors as they are allocated: no initialisation costs time, and untouched pages no memory."""
    # Torch's initialisers end in these; one draws again until the values suit it, so it must not run without them.
    inner = {name: value for name, value in vars(init).items() if name.startswith("_no_grad_")}
    vars(init).update(dict.fromkeys(inner, lambda tensor, *_, **__: tensor))
    try:
        with _SkipFills():
            yield
    finally:
        vars(init).update(inner)
