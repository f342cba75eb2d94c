"""Memory that no tensor shows: workspaces of cuBLAS, cuDNN and attention kernels, and the CUDA context.

The sizes are constants of one file, `calibration.json`, by GPU generation and each with its source, which a measured
run can replace (`calibrate.py`). A trace says where workspace memory is taken; here it becomes events like all others.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.vram.allocator.events import KEPT_SCRATCH, AllocationTrace, Event, Scratch

Generation = Literal["ampere", "ada", "hopper", "blackwell", "none"]
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
        conv_forward_staging: of a dense convolution with a kernel above 1, as a multiple of the bytes of its input and
            output together.
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
    """Return the trace with workspace memory as events of its own, held as `workspace`."""
    events: list[Event] = []
    holders, owners = dict(trace.holders), dict(trace.owners)
    due = iter(trace.scratch)
    coming = next(due, None)
    moved: dict[int, int] = {}
    positions = {mark.position for mark in trace.marks}
    for position in range(len(trace.events) + 1):
        while coming is not None and coming.position <= position:
            for event in _scratch_events(coming, workspace, len(owners)):
                holders[event.block], owners[event.block] = "workspace", coming.kind
                events.append(event)
            coming = next(due, None)
        if position in positions:
            moved[position] = len(events)
        if position < len(trace.events):
            events.append(trace.events[position])
    marks = tuple(mark._replace(position=moved[mark.position]) for mark in trace.marks)
    return replace(trace, events=tuple(events), holders=holders, owners=owners, marks=marks, scratch=())


def _scratch_events(scratch: Scratch, workspace: WorkspaceMemory, block: int) -> Iterator[Event]:
    taken = [int(size) for size in _SIZES[scratch.kind](scratch.sizes, workspace) if size >= 1]
    yield from (Event(block + index, size) for index, size in enumerate(taken))
    if scratch.kind not in KEPT_SCRATCH:
        yield from (Event(block + index, 0) for index in range(len(taken)))


def _cublas(_: tuple[int, ...], workspace: WorkspaceMemory) -> tuple[float, ...]:
    return (workspace.cublas_workspace_bytes.value,)


def _convolution(sizes: tuple[int, ...], workspace: WorkspaceMemory) -> tuple[float, ...]:
    inputs, outputs, _, _, groups, kernel, _, channels_last, _ = sizes
    staged = groups == 1 and kernel > 1 and not channels_last
    return ((inputs + outputs) * workspace.conv_forward_staging.value if staged else 0,)


def _convolution_backward(sizes: tuple[int, ...], workspace: WorkspaceMemory) -> tuple[float, ...]:
    """Return the copies that cuDNN makes where its Tensor Core kernels want another layout than the tensors have."""
    inputs, outputs, _, _, groups, kernel, channels_a_group, channels_last, _ = sizes
    if channels_last or (groups > 1 and channels_a_group < _WIDE_GROUP):
        return (0,)  # narrow groups have kernels without Tensor Cores
    if groups > 1:
        return ((inputs + outputs) * workspace.conv_grouped_staging.value,)
    dense = workspace.conv_pointwise_staging if kernel == 1 else workspace.conv_backward_staging
    return ((inputs + outputs) * dense.value,)


def _attention_backward(sizes: tuple[int, ...], workspace: WorkspaceMemory) -> tuple[float, ...]:
    batch, heads, length, width, item = sizes
    softmax_sums = 4 * batch * heads * length
    if item == 4 or not workspace.attention_backward_accumulator.value:
        return (softmax_sums,)
    padded_length, padded_width = -(-length // 128) * 128, -(-width // 32) * 32
    return 4 * batch * heads * padded_length * padded_width, softmax_sums


def _embedding_backward(sizes: tuple[int, ...], _: WorkspaceMemory) -> tuple[float, ...]:
    # Indices and positions are sorted, int64 each, with buffers of the sort beside them (thrust).
    return (6 * 8 * sizes[0],)


def _layer_norm_backward(sizes: tuple[int, ...], _: WorkspaceMemory) -> tuple[float, ...]:
    return (2 * 4 * 64 * sizes[0],)  # partial sums of the weight's and the bias's gradient over 64 parts


_SIZES: dict[str, Callable[[tuple[int, ...], WorkspaceMemory], tuple[float, ...]]] = {
    "cublas": _cublas,
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "flash_attention_backward": _attention_backward,
    "efficient_attention_backward": _attention_backward,
    "embedding_backward": _embedding_backward,
    "layer_norm_backward": _layer_norm_backward,
}
