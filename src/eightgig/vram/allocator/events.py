"""The trace of a step: which blocks of memory it takes and gives back, in order, and what they are for."""

from dataclasses import dataclass
from typing import NamedTuple

from eightgig.vram.allocator.kernels import ConvolutionKernel, CublasHandle, WorkspaceKernel
from eightgig.vram.plan import Category, Precision


class Event(NamedTuple):
    """One request to the allocator: `num_bytes` > 0 takes `block`, 0 gives it back. Bytes as requested, not rounded."""

    block: int
    num_bytes: int


class Mark(NamedTuple):
    """From event `position` on, the step is in `phase`."""

    position: int
    phase: str


class StepBoundary(NamedTuple):
    """How many events and marks come before an optimizer step."""

    num_events: int
    num_marks: int


class WorkspaceUse(NamedTuple):
    """A kernel that takes memory that no tensor shows, just before event `position`."""

    position: int
    kernel: WorkspaceKernel

    @property
    def is_dispensable(self) -> bool:
        """Whether the op goes on without it: torch takes cuDNN's next algorithm where one's workspace does not fit.

        Source: `try_plans` in aten/src/ATen/native/cudnn/Conv_v8.cpp, which takes out of memory for a no.
        """
        return isinstance(self.kernel, ConvolutionKernel)

    @property
    def is_kept(self) -> bool:
        """Whether the workspace is taken once and never given back; all others are gone when their op is done."""
        return isinstance(self.kernel, CublasHandle)


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
        events: in order; workspace memory is not among them.
        categories: of each block, by its number.
        owners: the module, or else the op, that made each block.
        marks: where phases begin.
        steps: where optimizer steps begin, and where the last one ended.
        workspaces: where kernels take workspace memory, whose size depends on the GPU.
        dispensable: blocks that a kernel asks for and does without where they do not fit.
        costs: of the ops of the last step.
        has_batch_norm: whether the network uses the batch's own statistics in training.
        largest_block: bytes of the weights of its largest block, or of what is in none, if that is more.
        predicted_as: what was taken for something else that is known, in sentences.
    """

    events: tuple[Event, ...]
    categories: dict[int, Category]
    owners: dict[int, str]
    marks: tuple[Mark, ...]
    steps: tuple[StepBoundary, ...] = ()
    workspaces: tuple[WorkspaceUse, ...] = ()
    dispensable: frozenset[int] = frozenset()
    costs: tuple[OpCost, ...] = ()
    has_batch_norm: bool = False
    largest_block: int = 0
    predicted_as: tuple[str, ...] = ()
