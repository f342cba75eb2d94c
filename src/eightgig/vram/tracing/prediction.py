"""From the trace of a step to what it takes: peaks, the smallest cap, and who holds what at each moment."""

from collections import Counter
from typing import Literal

from eightgig.core.records import Record
from eightgig.vram.allocator.blocks import AllocatorOptions
from eightgig.vram.allocator.events import HOLDERS, AllocationTrace, Holder
from eightgig.vram.allocator.replay import min_memory_limit, replay
from eightgig.vram.plan import MemorySample

_TIMELINE_POINTS = 240
_LARGEST_OWNERS = 12
_DEFAULTS = AllocatorOptions()


class OwnedBytes(Record):
    """What one module or op holds at the peak."""

    owner: str
    holder: Holder
    num_bytes: int


class Prediction(Record):
    """What one step takes on a card, in bytes, without the CUDA context.

    Attributes:
        peak_allocated: of all blocks at most, rounded as the allocator rounds; the figure of
            `torch.cuda.max_memory_allocated`.
        peak_reserved: what the allocator takes from the card without a cap; `torch.cuda.max_memory_reserved`.
        min_memory_limit: the smallest cap under which the step does not run out: "fits" is decided on this.
        at_peak: bytes by holder when `peak_allocated` is reached.
        largest: who holds most at the peak.
        timeline: the last step over its course, for a chart.
    """

    phase: Literal["train", "validate"]
    peak_allocated: int
    peak_reserved: int
    min_memory_limit: int
    num_segments: int
    fragmentation: float
    at_peak: dict[Holder, int]
    largest: tuple[OwnedBytes, ...]
    timeline: tuple[MemorySample, ...]


def predict_from(trace: AllocationTrace, phase: Literal["train", "validate"]) -> Prediction:
    """Return the prediction of a trace that has its workspace memory among its events (`workspace.with_workspace`)."""
    replayed = replay(trace.events)
    blocks = _held_at(trace, replayed.peak_position)
    return Prediction(
        phase=phase,
        peak_allocated=replayed.peak_allocated,
        peak_reserved=replayed.peak_reserved,
        min_memory_limit=min_memory_limit(trace.events),
        num_segments=replayed.num_segments,
        fragmentation=replayed.fragmentation,
        at_peak=_by_holder(trace, blocks),
        largest=_largest(trace, blocks),
        timeline=_timeline(trace),
    )


def _held_at(trace: AllocationTrace, position: int) -> dict[int, int]:
    held: dict[int, int] = {}
    for event in trace.events[: position + 1]:
        if event.num_bytes:
            held[event.block] = _DEFAULTS.round_size(event.num_bytes)
        else:
            held.pop(event.block, None)
    return held


def _by_holder(trace: AllocationTrace, blocks: dict[int, int]) -> dict[Holder, int]:
    sums: dict[Holder, int] = dict.fromkeys(HOLDERS, 0)
    for block, num_bytes in blocks.items():
        sums[trace.holders[block]] += num_bytes
    return sums


def _largest(trace: AllocationTrace, blocks: dict[int, int]) -> tuple[OwnedBytes, ...]:
    sums: Counter[tuple[str, Holder]] = Counter()
    for block, num_bytes in blocks.items():
        sums[trace.owners[block], trace.holders[block]] += num_bytes
    rows = sums.most_common(_LARGEST_OWNERS)
    return tuple(OwnedBytes(owner=owner, holder=holder, num_bytes=size) for (owner, holder), size in rows)


def _timeline(trace: AllocationTrace) -> tuple[MemorySample, ...]:
    start = _start_of_last_step(trace)
    width = max(1, len(trace.events) - start)
    every = max(1, width // _TIMELINE_POINTS)
    held, sums = _held_at(trace, start - 1), dict.fromkeys(HOLDERS, 0)
    for block, num_bytes in held.items():
        sums[trace.holders[block]] += num_bytes
    moments: list[MemorySample] = []
    highest: tuple[int, ...] = tuple(sums.values())
    for done, event in enumerate(trace.events[start:], start=1):
        change = _DEFAULTS.round_size(event.num_bytes) if event.num_bytes else -held.pop(event.block, 0)
        if event.num_bytes:
            held[event.block] = change
        sums[trace.holders[event.block]] += change
        highest = max(highest, tuple(sums.values()), key=sum)  # a point shows the most of its stretch
        if done % every == 0 or done == width:
            phase = _phase_at(trace, start + done - 1)
            moments.append(MemorySample(done=done / width, phase=phase, held=highest))
            highest = tuple(sums.values())
    return tuple(moments)


def _start_of_last_step(trace: AllocationTrace) -> int:
    """The last step begins after the one in which the optimizer made its state."""
    released = [index for index, mark in enumerate(trace.marks) if mark.phase in {"release", "validate"}]
    if len(released) < 2:
        return 0
    last = released[-1] if trace.marks[released[-1]].phase == "validate" else released[-2] + 1
    return trace.marks[last].position


def _phase_at(trace: AllocationTrace, position: int) -> str:
    names = [mark.phase for mark in trace.marks if mark.position <= position]
    return names[-1] if names else "build"
