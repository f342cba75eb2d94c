"""From the trace of a step to what it takes: peaks, the smallest cap, and what is held at each moment."""

from collections import Counter
from typing import Literal

from eightgig.core.records import Record
from eightgig.vram.allocator.blocks import AllocatorOptions
from eightgig.vram.allocator.caching import SimulatedOutOfMemoryError
from eightgig.vram.allocator.events import AllocationTrace
from eightgig.vram.allocator.replay import Replay, min_memory_limit, replay
from eightgig.vram.plan import CATEGORIES, Category, MemorySample, OwnedBytes
from eightgig.vram.tracing.accuracy import NetworkKind, kind_of, load_accuracy

_TIMELINE_POINTS = 240  # as many as a chart shows apart
_LARGEST_OWNERS = 12  # a page shows eight of them, those that are modules
_DEFAULTS = AllocatorOptions()


class Prediction(Record):
    """What one step takes on a card, in bytes, without the CUDA context.

    Attributes:
        peak_allocated: of all blocks at most, rounded as the allocator rounds; the figure of
            `torch.cuda.max_memory_allocated`.
        peak_reserved: what the allocator takes from the card without a cap; `torch.cuda.max_memory_reserved`. Of a card
            whose memory was named, no more than there is: cached blocks and cuDNN's workspaces give way first.
        min_memory_limit: the smallest cap under which the step does not run out: "fits" is decided on this. Below
            `peak_allocated` where cuDNN would do without workspaces.
        kind: of the network, whose range `error_above` is.
        error_above: 95 % of measured runs of its kind took no more than is predicted and this share of it.
        at_peak: bytes by category when `peak_allocated` is reached.
        largest: who holds most at the peak.
        timeline: the last step over its course, for a chart.
        predicted_as: what was taken for something else that is known, in sentences; empty for most networks.
    """

    phase: Literal["train", "validate"]
    peak_allocated: int
    peak_reserved: int
    min_memory_limit: int
    num_segments: int
    fragmentation: float
    at_peak: dict[Category, int]
    largest: tuple[OwnedBytes, ...]
    timeline: tuple[MemorySample, ...]
    kind: NetworkKind
    error_above: float
    predicted_as: tuple[str, ...] = ()

    @property
    def upper_limit(self) -> int:
        """The cap that 95 % of runs do not run out under."""
        return round(self.min_memory_limit * (1 + self.error_above))


def predict_from(
    trace: AllocationTrace, phase: Literal["train", "validate"], usable_bytes: int | None = None
) -> Prediction:
    """Return the prediction of a trace that has its workspace memory among its events (`workspace.with_workspace`).

    Args:
        trace: of steps.
        phase: that was traced.
        usable_bytes: of the card, for tensors; None where no card is meant.
    """
    replayed = replay(trace.events)
    kind = kind_of(trace)
    blocks = _held_at(trace, replayed.peak_position)
    return Prediction(
        phase=phase,
        peak_allocated=replayed.peak_allocated,
        peak_reserved=_reserved_on_card(trace, replayed, usable_bytes),
        min_memory_limit=min_memory_limit(trace.events, dispensable=trace.dispensable),
        num_segments=replayed.num_segments,
        fragmentation=replayed.fragmentation,
        at_peak=_by_category(trace, blocks),
        largest=_largest(trace, blocks),
        timeline=_timeline(trace),
        kind=kind,
        error_above=load_accuracy().kinds[kind].above,
        predicted_as=trace.predicted_as,
    )


def _reserved_on_card(trace: AllocationTrace, uncapped: Replay, usable_bytes: int | None) -> int:
    if usable_bytes is None or uncapped.peak_reserved <= usable_bytes:
        return uncapped.peak_reserved
    try:
        return replay(trace.events, usable_bytes, dispensable=trace.dispensable).peak_reserved
    except SimulatedOutOfMemoryError:
        return uncapped.peak_reserved


def _held_at(trace: AllocationTrace, position: int) -> dict[int, int]:
    held: dict[int, int] = {}
    for event in trace.events[: position + 1]:
        if event.num_bytes:
            held[event.block] = _DEFAULTS.round_size(event.num_bytes)
        else:
            held.pop(event.block, None)
    return held


def _by_category(trace: AllocationTrace, blocks: dict[int, int]) -> dict[Category, int]:
    sums: dict[Category, int] = dict.fromkeys(CATEGORIES, 0)
    for block, num_bytes in blocks.items():
        sums[trace.categories[block]] += num_bytes
    return sums


def _largest(trace: AllocationTrace, blocks: dict[int, int]) -> tuple[OwnedBytes, ...]:
    sums: Counter[tuple[str, Category]] = Counter()
    for block, num_bytes in blocks.items():
        sums[trace.owners[block], trace.categories[block]] += num_bytes
    rows = sums.most_common(_LARGEST_OWNERS)
    return tuple(OwnedBytes(owner=owner, category=category, num_bytes=size) for (owner, category), size in rows)


def _timeline(trace: AllocationTrace) -> tuple[MemorySample, ...]:
    start = _start_of_last_step(trace)
    width = max(1, len(trace.events) - start)
    every = max(1, width // _TIMELINE_POINTS)
    held = _held_at(trace, start - 1)
    sums = _by_category(trace, held)
    samples: list[MemorySample] = []
    highest = sums.copy()
    for done, event in enumerate(trace.events[start:], start=1):
        change = _DEFAULTS.round_size(event.num_bytes) if event.num_bytes else -held.pop(event.block, 0)
        if event.num_bytes:
            held[event.block] = change
        sums[trace.categories[event.block]] += change
        if sum(sums.values()) > sum(highest.values()):
            highest = sums.copy()  # a sample shows the most of its stretch
        if done % every == 0 or done == width:
            phase = _phase_at(trace, start + done - 1)
            samples.append(MemorySample(done=done / width, phase=phase, **highest))
            highest = sums.copy()
    return tuple(samples)


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
