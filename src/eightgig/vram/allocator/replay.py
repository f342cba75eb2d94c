"""What a trace reserves, and the smallest cap under which it does not run out."""

from collections.abc import Collection, Iterable, Sequence
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


def replay(
    events: Iterable[Event],
    limit_bytes: int | None = None,
    segments: Segments = "native",
    *,
    dispensable: Collection[int] = (),
) -> Replay:
    """Return the peaks of a trace under a cap (None: no cap). `segments="expandable"` is unproven.

    Args:
        events: of the trace.
        limit_bytes: the cap.
        segments: the kind that the allocator makes.
        dispensable: blocks without which the run goes on where they do not fit (see `AllocationTrace`).

    Raises:
        SimulatedOutOfMemoryError: it does not fit under the cap.
        DataError: an event gives back a block that is not held, or takes one that is.
    """
    allocator = CachingAllocator(limit_bytes, segments=segments)
    peak_position = _run(allocator, events, dispensable)
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


def min_memory_limit(
    events: Iterable[Event], segments: Segments = "native", *, dispensable: Collection[int] = ()
) -> int:
    """Return the smallest cap in bytes, a multiple of 2 MiB, under which a trace does not run out.

    A larger cap can fail where a smaller one holds: giving back segments earlier can leave better room later. The
    result is therefore the lower end of a range of caps that hold, found by bisection; the next few intervals of
    caps above it (`INTERVALS_TRIED_ABOVE`) were tried too, and where one failed the search went on above it. A
    failing cap further up is not excluded; the peak reserved without a cap always holds (of native segments). Of 487
    random traces 32 had such a cap: bisection alone was misled by 12 of them, with three intervals tried by none.

    Args:
        events: of the trace.
        segments: the kind that the allocator makes.
        dispensable: as for `replay`.

    Raises:
        DataError: as for `replay`.
    """
    search = _CapSearch(tuple(events), segments, frozenset(dispensable))
    fails, holds = _round_up(search.peak_of_requests()) - SEGMENT_STEP, _round_up(search.interval_of(None).first_cap)
    while True:
        cap, last_good = search.bisect(fails, holds)
        worse = search.failing_above(last_good, holds)
        if worse is None:
            return cap
        fails = worse


class _SmallestCap(NamedTuple):
    cap: int
    last_good: int  # up to where caps surely hold


@dataclass(frozen=True, slots=True)
class _CapSearch:
    trace: Sequence[Event]
    segments: Segments
    dispensable: frozenset[int]

    def bisect(self, fails: int, holds: int) -> _SmallestCap:
        """Narrow down between a cap that fails and one that holds."""
        last_good = holds
        while holds - fails > SEGMENT_STEP:
            interval = self.interval_of(fails + (holds - fails) // SEGMENT_STEP // 2 * SEGMENT_STEP)
            if interval.fits:
                holds, last_good = max(_round_up(interval.first_cap), fails + SEGMENT_STEP), _last_step(interval, holds)
            else:
                fails = _last_step(interval, holds - SEGMENT_STEP)
        return _SmallestCap(holds, last_good)

    def failing_above(self, last_good: int, surely_holds: int) -> int | None:
        """Return the largest cap of the first failing interval above `last_good`, or None where none was found."""
        for _ in range(INTERVALS_TRIED_ABOVE):
            if last_good + SEGMENT_STEP >= surely_holds:
                return None
            interval = self.interval_of(last_good + SEGMENT_STEP)
            last_good = _last_step(interval, surely_holds)
            if not interval.fits:
                return min(last_good, surely_holds - SEGMENT_STEP)
        return None

    def interval_of(self, limit_bytes: int | None) -> _CapInterval:
        """Return how a replay under a cap goes, and the caps under which it goes the same way."""
        allocator = CachingAllocator(limit_bytes, segments=self.segments)
        try:
            _run(allocator, self.trace, self.dispensable)
        except SimulatedOutOfMemoryError:
            fits = False
        else:
            fits = True
        refused = allocator.card.lowest_refused
        return _CapInterval(fits, allocator.card.highest_granted, None if refused is None else refused - 1)

    def peak_of_requests(self) -> int:
        """Return the peak of the rounded requests: no cap below it can hold, whatever the allocator does."""
        options = AllocatorOptions()
        sizes: dict[int, int] = {}
        total = peak = 0
        for number, num_bytes in self.trace:
            if number in self.dispensable:
                continue
            if num_bytes > 0:
                sizes[number] = options.round_size(num_bytes)
                total += sizes[number]
                peak = max(peak, total)
            else:
                total -= sizes[number]
        return peak


def _run(allocator: CachingAllocator, events: Iterable[Event], dispensable: Collection[int]) -> int:
    held: dict[int, Block | None] = {}
    peak, peak_position = 0, -1
    malloc, free = allocator.malloc, allocator.free
    for position, (number, num_bytes) in enumerate(events):
        if num_bytes > 0:
            if number in held:
                raise DataError(f"event {position} takes block {number}, which is held already: not a trace.")
            held[number] = _malloc_or_none(allocator, num_bytes) if number in dispensable else malloc(num_bytes)
            if allocator.allocated > peak:
                peak, peak_position = allocator.allocated, position
        else:
            if number not in held:
                raise DataError(f"event {position} gives back block {number}, which is not held: not a trace.")
            block = held.pop(number)
            if block is not None:
                free(block)
    return peak_position


def _malloc_or_none(allocator: CachingAllocator, num_bytes: int) -> Block | None:
    try:
        return allocator.malloc(num_bytes)
    except SimulatedOutOfMemoryError:
        return None


def _last_step(interval: _CapInterval, at_most: int) -> int:
    """Return the largest multiple of 2 MiB in the interval, or `at_most` where that is less."""
    return at_most if interval.last_cap is None else min(at_most, interval.last_cap // SEGMENT_STEP * SEGMENT_STEP)


def _round_up(num_bytes: int) -> int:
    return (num_bytes + SEGMENT_STEP - 1) // SEGMENT_STEP * SEGMENT_STEP
