"""The trace of a step: which blocks of memory it takes and gives back, in order, and who holds them."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from eightgig.vram.plan import Precision

Holder = Literal["parameters", "gradients", "optimizer", "activations", "batch", "temporaries", "workspace"]
HOLDERS: tuple[Holder, ...] = (
    "parameters",
    "gradients",
    "optimizer",
    "activations",
    "batch",
    "temporaries",
    "workspace",
)
# Scratch that is taken once and never given back; all other scratch is gone when its op is done.
KEPT_SCRATCH = frozenset({"cublas"})


class Event(NamedTuple):
    """One request to the allocator: `num_bytes` > 0 takes `block`, 0 gives it back. Bytes as requested, not rounded."""

    block: int
    num_bytes: int


class Mark(NamedTuple):
    """From event `position` on, the step is in `phase`."""

    position: int
    phase: str


class Scratch(NamedTuple):
    """An op whose kernel takes memory that no tensor shows, just before event `position`.

    `sizes` are what the size of the scratch is computed from; what they are depends on `kind` (see `workspace.py`).
    """

    position: int
    kind: str
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OpCost:
    """What one op computes and moves: multiply-adds count two, and each byte of its inputs and outputs once."""

    name: str
    phase: str
    flops: int
    bytes_moved: int
    precision: Precision


@dataclass(frozen=True)
class AllocationTrace:
    """All that a step does to memory, on no particular card.

    Attributes:
        events: in order; the blocks of memory workspace in kernels are not among them.
        holders: of each block, by its number.
        owners: the module, or else the op, that made each block.
        marks: where phases begin.
        scratch: where workspace memory is taken, by kind; its size depends on the GPU.
        costs: of the ops of the last step.
        has_batch_norm: whether the network uses the batch's own statistics in training.
        largest_block: bytes of the weights of its largest block, or of what is in none, if that is more.
    """

    events: tuple[Event, ...]
    holders: dict[int, Holder]
    owners: dict[int, str]
    marks: tuple[Mark, ...]
    scratch: tuple[Scratch, ...] = ()
    costs: tuple[OpCost, ...] = ()
    has_batch_norm: bool = False
    largest_block: int = 0
