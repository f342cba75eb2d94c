"""What a trace reserves, and the smallest cap under which it does not run out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from eightgig.core.errors import DataError
from eightgig.core.records import Record
from eightgig.vram.allocator.blocks import SEGMENT_STEP, AllocatorOptions, Block
from eightgig.vram.allocator.caching import CachingAllocator, Segments, SimulatedOutOfMemoryError
from eightgig.vram.allocator.events import Event

# How many intervals of caps above one are tried before it is given as the smallest (see min_memory_limit).
INTERVALS_TRIED_ABOVE = 6


class Replay(Record):
    """What the simulated allocator held while a trace was replayed.

    Attributes:
        peak_allocated: bytes of all held blocks at most, rounded as the allocator rounds.
        peak_reserved: bytes taken from the card at most.
        num_segments: the most segments held at once (of expandable ones, address ranges).
        num_retries: how often all free segments were given back because the cap was reached.
        fragmentation: share of the peak reserved that the peak allocated leaves over, 0 to 1.
        peak_position: index of the event that first reaches `peak_allocated`; -1 for a trace without events.
        unproven: whether this kind of segments was not yet held against a GPU.
    """

    peak_allocated: int
    peak_reserved: int
    num_segments: int
    num_retries: int
    fragmentation: float
    peak_position: int
    unproven: bool


@dataclass(frozen=True, slots=True)
class _CapInterval:
    """How a replay went, and for which other caps it would have gone the same way: first to last, in bytes."""

    fits: bool
    first_cap: int
    last_cap: int | None


def replay(events: Iterable[Event], limit_bytes: int | None = None, segments: Segments = "native") -> Replay:
    """Return the peaks of a trace under a cap (None: no cap). `segments="expandable"` is unproven.

    Raises:
        SimulatedOutOfMemoryError: it does not fit under the cap.
        DataError: an event gives back a block that is not held, or takes one that is.
    """
    allocator = CachingAllocator(limit_bytes, segments=segments)
    peak_position = _run(allocator, events)
    reserved = allocator.peak_reserved
    return Replay(
        peak_allocated=allocator.peak_allocated,
        peak_reserved=reserved,
        num_segments=allocator.peak_segments,
        num_retries=allocator.num_retries,
        fragmentation=1 - allocator.peak_allocated / reserved if reserved else 0.0,
        peak_position=peak_position,
        unproven=segments == "expandable",
    )


def min_memory_limit(events: Iterable[Event], segments: Segments = "native") -> int:
    """Return the smallest cap in bytes, a multiple of 2 MiB, under which a trace does not run out.

    A larger cap can fail where a smaller one holds: giving back segments earlier can leave better room later. The
    result is therefore the lower end of a range of caps that hold, found by bisection; the next few intervals of
    caps above it (`INTERVALS_TRIED_ABOVE`) were tried too, and where one failed the search went on above it. A
    failing cap further up is not excluded; the peak reserved without a cap always holds (of native segments). Of 487
    random traces 32 had such a cap: bisection alone was misled by 12 of them, with three intervals tried by none.

    Raises:
        DataError: as for `replay`.
    """
    trace = tuple(events)
    uncapped = _interval_of(trace, None, segments)
    fails, holds = _round_up(_peak_of_requests(trace)) - SEGMENT_STEP, _round_up(uncapped.first_cap)
    while True:
        cap, last_good = _bisect(trace, segments, fails, holds)
        worse = _failing_above(trace, segments, last_good, holds)
        if worse is None:
            return cap
        fails = worse


class _SmallestCap(NamedTuple):
    cap: int
    last_good: int  # up to where caps surely hold


def _bisect(trace: Sequence[Event], segments: Segments, fails: int, holds: int) -> _SmallestCap:
    """Narrow down between a cap that fails and one that holds."""
    last_good = holds
    while holds - fails > SEGMENT_STEP:
        interval = _interval_of(trace, fails + (holds - fails) // SEGMENT_STEP // 2 * SEGMENT_STEP, segments)
        if interval.fits:
            holds, last_good = max(_round_up(interval.first_cap), fails + SEGMENT_STEP), _last_step(interval, holds)
        else:
            fails = _last_step(interval, holds - SEGMENT_STEP)
    return _SmallestCap(holds, last_good)


def _failing_above(trace: Sequence[Event], segments: Segments, last_good: int, surely_holds: int) -> int | None:
    """Return the largest cap of the first failing interval above `last_good`, or None where none was found."""
    for _ in range(INTERVALS_TRIED_ABOVE):
        if last_good + SEGMENT_STEP >= surely_holds:
            return None
        interval = _interval_of(trace, last_good + SEGMENT_STEP, segments)
        last_good = _last_step(interval, surely_holds)
        if not interval.fits:
            return min(last_good, surely_holds - SEGMENT_STEP)
    return None


def _interval_of(trace: Sequence[Event], limit_bytes: int | None, segments: Segments) -> _CapInterval:
    allocator = CachingAllocator(limit_bytes, segments=segments)
    try:
        _run(allocator, trace)
    except SimulatedOutOfMemoryError:
        fits = False
    else:
        fits = True
    refused = allocator.card.lowest_refused
    return _CapInterval(fits, allocator.card.highest_granted, None if refused is None else refused - 1)


def _run(allocator: CachingAllocator, events: Iterable[Event]) -> int:
    held: dict[int, Block] = {}
    peak, peak_position = 0, -1
    malloc, free = allocator.malloc, allocator.free
    for position, (number, num_bytes) in enumerate(events):
        if num_bytes > 0:
            if number in held:
                raise DataError(f"event {position} takes block {number}, which is held already: not a trace.")
            held[number] = malloc(num_bytes)
            if allocator.allocated > peak:
                peak, peak_position = allocator.allocated, position
        else:
            block = held.pop(number, None)
            if block is None:
                raise DataError(f"event {position} gives back block {number}, which is not held: not a trace.")
            free(block)
    return peak_position


def _peak_of_requests(trace: Sequence[Event]) -> int:
    """Return the peak of the rounded requests: no cap below it can hold, whatever the allocator does."""
    options = AllocatorOptions()
    sizes: dict[int, int] = {}
    total = peak = 0
    for number, num_bytes in trace:
        if num_bytes > 0:
            sizes[number] = options.round_size(num_bytes)
            total += sizes[number]
            peak = max(peak, total)
        else:
            total -= sizes[number]
    return peak


def _last_step(interval: _CapInterval, at_most: int) -> int:
    """Return the largest multiple of 2 MiB in the interval, or `at_most` where that is less."""
    return at_most if interval.last_cap is None else min(at_most, interval.last_cap // SEGMENT_STEP * SEGMENT_STEP)


def _round_up(num_bytes: int) -> int:
    return (num_bytes + SEGMENT_STEP - 1) // SEGMENT_STEP * SEGMENT_STEP
