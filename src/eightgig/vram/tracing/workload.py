"""What to trace: a network, its loss and its batches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from eightgig.vram.plan import Checkpointing
from eightgig.vram.runtime.recompute import apply_checkpointing

MakeBatch = Callable[[int], Any]
"""From a number of samples to a batch: tensors on torch's default device, in any nesting of tuples, lists and dicts."""


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
