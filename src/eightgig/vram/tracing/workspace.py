"""Memory that no tensor shows: workspaces of cuBLAS, cuDNN and attention kernels, and the CUDA context.

The sizes are constants of one file, `calibration.json`, by GPU generation and each with its source, which a measured
run can replace (`calibrate.py`). A trace says where workspace memory is taken; here it becomes events like all others.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from eightgig.core.device import DeviceKind
from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.vram.allocator.events import AllocationTrace, Event, WorkspaceUse
from eightgig.vram.allocator.kernels import (
    AttentionKernel,
    ConvolutionKernel,
    CublasHandle,
    EmbeddingKernel,
    LayerNormKernel,
    WorkspaceKernel,
)

Generation = Literal["turing", "ampere", "ada", "hopper", "blackwell", "none"]
# Channels a group. Of fewer (a first layer's colours, narrow groups), cuDNN has kernels without Tensor Cores, which
# take tensors as they lie.
_WIDE_GROUP = 16
PACKAGED = Path(__file__).parent / "calibration.json"


class Constant(Record):
    """One figure and where it is from."""

    value: float
    unit: str
    source: str


class WorkspaceMemory(Record):
    """What kernels of one GPU generation take beside tensors.

    Attributes:
        context_bytes: of the driver and of torch's kernels, before the first tensor.
        cublas_workspace_bytes: of each cuBLAS handle on each stream; training has two, inference one.
        conv_forward_staging: of a dense convolution of 16 channels and more with a kernel above 1, as a multiple of the
            bytes of its input and output together.
        conv_backward_staging: of its backward pass, as a multiple of the bytes of its input and output gradient.
        conv_pointwise_staging: the same multiple for the backward pass of kernels of size 1.
        conv_grouped_staging: the same multiple for the backward pass of grouped convolutions with 16 channels a group
            and more.
        attention_backward_accumulator: 1 where the fused attention kernel adds up the query's gradient in float32.
    """

    context_bytes: Constant
    cublas_workspace_bytes: Constant
    conv_forward_staging: Constant
    conv_backward_staging: Constant
    conv_pointwise_staging: Constant
    conv_grouped_staging: Constant
    attention_backward_accumulator: Constant


class Calibration(Record):
    """The constants of all generations."""

    generations: dict[Generation, WorkspaceMemory]

    def of(self, generation: str) -> WorkspaceMemory:
        """Return the constants of one generation.

        Raises:
            ConfigurationError: there are none.
        """
        for name, workspace in self.generations.items():
            if name == generation:
                return workspace
        raise ConfigurationError(
            f"no workspace constants for GPU generation {generation!r}: there are {', '.join(self.generations)}"
        )


def generation_on(device: DeviceKind, architecture: str) -> Generation:
    """Return the generation whose constants count; `none` on the CPU, Ampere's for architectures without any.

    Args:
        device: where the run takes place.
        architecture: of the card, as the catalog names it; empty where no card is known.
    """
    if device == "cpu":
        return "none"
    known: dict[str, Generation] = {name: name for name in ("turing", "ada", "hopper", "blackwell")}
    return known.get(architecture.lower(), "ampere")


def load_calibration(path: Path | None = None) -> Calibration:
    """Return the constants of a file; None reads the packaged one.

    Raises:
        ConfigurationError: the file is missing, is not JSON or lacks something.
    """
    return _load(PACKAGED if path is None else path)


@lru_cache(maxsize=4)
def _load(path: Path) -> Calibration:
    try:
        return Calibration.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise ConfigurationError(
            f"the calibration {path} cannot be used: {error}. Write one with `make calibrate`, or leave "
            "plan.calibration empty for the packaged constants"
        ) from error


def with_workspace(trace: AllocationTrace, workspace: WorkspaceMemory) -> AllocationTrace:
    """Return the trace with workspace memory as events of its own, of the category `workspace`."""
    events: list[Event] = []
    categories, owners, dispensable = dict(trace.categories), dict(trace.owners), set[int]()
    due = iter(trace.workspaces)
    coming = next(due, None)
    moved: dict[int, int] = {}
    positions = {mark.position for mark in trace.marks}
    for position in range(len(trace.events) + 1):
        while coming is not None and coming.position <= position:
            for event in _events_of(coming, workspace, len(owners)):
                categories[event.block], owners[event.block] = "workspace", coming.kernel.kind
                events.append(event)
                if coming.is_dispensable:
                    dispensable.add(event.block)
            coming = next(due, None)
        if position in positions:
            moved[position] = len(events)
        if position < len(trace.events):
            events.append(trace.events[position])
    marks = tuple(mark._replace(position=moved[mark.position]) for mark in trace.marks)
    return replace(
        trace,
        events=tuple(events),
        categories=categories,
        owners=owners,
        marks=marks,
        workspaces=(),
        dispensable=frozenset(dispensable),
    )


def workspace_bytes(kernel: WorkspaceKernel, workspace: WorkspaceMemory) -> tuple[float, ...]:
    """Return the bytes of each block that a kernel takes beside tensors; all are held at once."""
    match kernel:
        case CublasHandle():
            return (workspace.cublas_workspace_bytes.value,)
        case ConvolutionKernel(kind="convolution"):
            return (_convolution(kernel, workspace),)
        case ConvolutionKernel():
            return (_convolution_backward(kernel, workspace),)
        case AttentionKernel():
            return _attention_backward(kernel, workspace)
        case EmbeddingKernel():
            # Indices and positions are sorted, int64 each, with buffers of the sort beside them (thrust).
            return (6 * 8 * kernel.num_indices,)
        case LayerNormKernel():
            # Partial sums of the weight's and the bias's gradient, in float32, over 64 parts.
            return (2 * 4 * 64 * kernel.num_features,)


def _events_of(use: WorkspaceUse, workspace: WorkspaceMemory, block: int) -> Iterator[Event]:
    taken = [int(size) for size in workspace_bytes(use.kernel, workspace) if size >= 1]
    yield from (Event(block + index, size) for index, size in enumerate(taken))
    if not use.is_kept:
        yield from (Event(block + index, 0) for index in range(len(taken)))


def _convolution(kernel: ConvolutionKernel, workspace: WorkspaceMemory) -> float:
    if kernel.groups > 1 or kernel.kernel_size == 1 or _takes_tensors_as_they_lie(kernel):
        return 0
    return (kernel.input_bytes + kernel.output_bytes) * workspace.conv_forward_staging.value


def _convolution_backward(kernel: ConvolutionKernel, workspace: WorkspaceMemory) -> float:
    """Return the copies that cuDNN makes where its Tensor Core kernels want another layout than the tensors have."""
    if _takes_tensors_as_they_lie(kernel):
        return 0
    if kernel.groups > 1:
        staging = workspace.conv_grouped_staging
    else:
        staging = workspace.conv_pointwise_staging if kernel.kernel_size == 1 else workspace.conv_backward_staging
    return (kernel.input_bytes + kernel.output_bytes) * staging.value


def _takes_tensors_as_they_lie(kernel: ConvolutionKernel) -> bool:
    return kernel.channels_last or kernel.channels_per_group < _WIDE_GROUP


def _attention_backward(kernel: AttentionKernel, workspace: WorkspaceMemory) -> tuple[float, ...]:
    rows = kernel.batch * kernel.heads
    softmax_sums = 4 * rows * kernel.tokens  # one float32 a row
    if kernel.element_bytes == 4 or not workspace.attention_backward_accumulator.value:
        return (softmax_sums,)
    # The accumulator's length is rounded up to 128, its width to 32 (FlashAttention 2, flash_api.cpp, mha_bwd).
    padded_tokens, padded_dim = -(-kernel.tokens // 128) * 128, -(-kernel.head_dim // 32) * 32
    return 4 * rows * padded_tokens * padded_dim, softmax_sums
