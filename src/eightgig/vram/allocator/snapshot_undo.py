"""Undoes the actions of an allocator, from the state that a snapshot shows back to the first recorded one."""

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from eightgig.core.errors import DataError
from eightgig.vram.allocator.blocks import DEFAULT_POOL, SMALL_REQUEST, SMALL_SEGMENT, AllocatorOptions, PoolId
from eightgig.vram.allocator.snapshot_file import SegmentState, TraceEntry


@dataclass(slots=True)
class HeldBlock:
    """A block that is not free.

    Attributes:
        num_bytes: its size, with what was not split off.
        is_allocated: False while other streams still use it after it was given back.
        is_open: whether it may be up to 1 MiB larger than `num_bytes`, as far as is known yet.
    """

    num_bytes: int
    is_allocated: bool
    is_open: bool = False


class _Page(NamedTuple):
    """An address of an expandable segment whose pages are known to be small, or large."""

    address: int
    is_small: bool


class UndoneAction(NamedTuple):
    """The pool and the block that an action was about; None where it was about a segment."""

    pool_id: PoolId
    block: HeldBlock | None


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment, or of an expandable one a range of pages without a gap."""

    address: int
    num_bytes: int
    stream: int
    is_small: bool
    pool_id: PoolId

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.num_bytes


@dataclass
class Undo:
    """The state of a device while its trace is undone, last action first.

    Attributes:
        final, trace, options: of the snapshot.
        segments, starts: held at the moment, by address; the addresses, ascending.
        held, held_starts: blocks that are not free, by address; the addresses, ascending.
        is_expandable: whether the segments are.
        reserved: bytes of all segments.
    """

    final: tuple[SegmentState, ...]
    trace: tuple[TraceEntry, ...]
    options: AllocatorOptions
    segments: dict[int, Segment] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    held: dict[int, HeldBlock] = field(default_factory=dict)
    held_starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.is_expandable = _is_expandable(self.final, self.trace)
        self._pages = _kinds_of_pages(self.final, self.trace)
        for state in self.final:
            self._put(Segment(state.address, state.num_bytes, state.stream, state.is_small, state.pool_id))
            for block in state.blocks:
                if block.state != "inactive":
                    self._hold(block.address, HeldBlock(block.num_bytes, block.state == "active_allocated"))
        self.reserved = sum(segment.num_bytes for segment in self.final)

    def step_back(self, entry: TraceEntry) -> UndoneAction:
        """Undo one action, and give the pool and the block it was about.

        Raises:
            DataError: the action cannot have led to this state.
        """
        if entry.action in ("segment_alloc", "segment_map"):
            return UndoneAction(self._undo_growth(entry).pool_id, None)
        if entry.action in ("segment_free", "segment_unmap"):
            return UndoneAction(self._undo_release(entry).pool_id, None)
        segment = self._around(entry)
        return UndoneAction(segment.pool_id, self._undo_block(entry, segment))

    def _undo_block(self, entry: TraceEntry, segment: Segment) -> HeldBlock:
        block = self.held.get(entry.address)
        if entry.action == "free_completed":
            if block is not None:
                raise _contradiction(entry, "the block is held again, or still")
            block = self._block_when_freed(entry, segment)
            self._hold(entry.address, block)
        elif block is None or block.is_allocated is (entry.action == "free_requested"):
            raise _contradiction(entry, "the block is not held so")
        elif entry.action == "free_requested":
            block.is_allocated = True
        else:
            self._undo_alloc(entry, block)
        return block

    def _undo_alloc(self, entry: TraceEntry, block: HeldBlock) -> None:
        if self.options.round_size(entry.num_bytes) > block.num_bytes:
            raise _contradiction(entry, "the block is smaller than what was asked for")
        del self.held[entry.address]
        del self.held_starts[bisect_left(self.held_starts, entry.address)]

    def _block_when_freed(self, entry: TraceEntry, segment: Segment) -> HeldBlock:
        """Return a block that was given back, with its size: what was asked for, rounded, and what was not split off.

        In a large native pool up to 1 MiB is never split off, and no free block is that small: what lies between the
        request's end and the next block that is held, if it is no more, belongs to the block. If it is more, a free
        block lies there, and where that begins may show later (`_close`). A block of max_split_size or more is never
        split at all.
        """
        size = self.options.round_size(entry.num_bytes)
        index = bisect_left(self.held_starts, entry.address)
        end = segment.end if index == len(self.held_starts) else min(segment.end, self.held_starts[index])
        rest = end - entry.address - size
        if rest < 0:
            raise _contradiction(entry, "the block reaches into the next one")
        if segment.is_small or self.is_expandable:
            return HeldBlock(size, is_allocated=False)
        whole = self.options.max_split_bytes is not None and size >= self.options.max_split_bytes
        is_known = whole or rest <= SMALL_REQUEST
        return HeldBlock(size + rest if is_known else size, is_allocated=False, is_open=not is_known)

    def _undo_growth(self, entry: TraceEntry) -> Segment:
        segment = self._around(entry)
        end = entry.address + entry.num_bytes
        exact = segment.address == entry.address and segment.end == end
        if not exact and not (self.is_expandable and end <= segment.end):
            raise _contradiction(entry, "the segment has another size")
        index = bisect_left(self.held_starts, entry.address)
        if index < len(self.held_starts) and self.held_starts[index] < end:
            raise _contradiction(entry, "a block is held in the segment before there was one")
        self._take(segment)
        for start, stop in ((segment.address, entry.address), (end, segment.end)):
            if start < stop:
                self._put(replace(segment, address=start, num_bytes=stop - start))
        self.reserved -= entry.num_bytes
        return segment

    def _undo_release(self, entry: TraceEntry) -> Segment:
        is_small = self._small_pages(entry) if self.is_expandable else entry.num_bytes == SMALL_SEGMENT
        segment = Segment(entry.address, entry.num_bytes, entry.stream, is_small, entry.pool_id or DEFAULT_POOL)
        index = bisect_right(self.starts, entry.address)
        before = self.segments[self.starts[index - 1]] if index else None
        after = self.segments[self.starts[index]] if index < len(self.starts) else None
        if (before is not None and before.end > segment.address) or (after is not None and after.address < segment.end):
            raise _contradiction(entry, "it overlaps another segment")
        self.reserved += segment.num_bytes
        if self.is_expandable:
            for neighbour in (before, after):
                segment = self._joined(segment, neighbour)
        self._put(segment)
        return segment

    def _joined(self, pages: Segment, neighbour: Segment | None) -> Segment:
        """Join a range of pages with its neighbour, where both are of one pool and touch."""
        if neighbour is None or (neighbour.end != pages.address and neighbour.address != pages.end):
            return pages
        joined = replace(
            pages, address=min(pages.address, neighbour.address), num_bytes=pages.num_bytes + neighbour.num_bytes
        )
        if joined != replace(neighbour, address=joined.address, num_bytes=joined.num_bytes):
            return pages
        self._take(neighbour)
        return joined

    def _small_pages(self, entry: TraceEntry) -> bool:
        if entry.num_bytes % self.options.large_segment_bytes:
            return True  # large pages come and go as a whole
        index = bisect_right(self._pages, _Page(entry.address, True))
        nearest = self._pages[max(index - 1, 0) : index + 1]  # the address ranges of segments are far apart
        return bool(nearest) and min(nearest, key=lambda page: abs(page.address - entry.address)).is_small

    def _around(self, entry: TraceEntry) -> Segment:
        index = bisect_right(self.starts, entry.address)
        segment = self.segments[self.starts[index - 1]] if index else None
        if segment is None or entry.address >= segment.end:
            raise _contradiction(entry, "there is no segment at this address")
        return segment

    def _hold(self, address: int, block: HeldBlock) -> None:
        index = bisect_left(self.held_starts, address)
        if index:
            before = self.held_starts[index - 1]
            _close(self.held[before], address - before)
        self.held[address] = block
        self.held_starts.insert(index, address)

    def _put(self, segment: Segment) -> None:
        self.segments[segment.address] = segment
        insort(self.starts, segment.address)

    def _take(self, segment: Segment) -> None:
        del self.segments[segment.address]
        del self.starts[bisect_left(self.starts, segment.address)]


def _close(block: HeldBlock, room: int) -> None:
    """Settle the size of a block behind which, `room` bytes from its start, another one begins."""
    if block.is_open and 0 <= room - block.num_bytes <= SMALL_REQUEST:
        block.num_bytes, block.is_open = room, False


def _is_expandable(final: tuple[SegmentState, ...], trace: tuple[TraceEntry, ...]) -> bool:
    actions = {entry.action for entry in trace}
    kinds = {segment.is_expandable for segment in final}
    kinds |= {True} if actions & {"segment_map", "segment_unmap"} else set()
    kinds |= {False} if actions & {"segment_alloc", "segment_free"} else set()
    if len(kinds) == 2:
        raise DataError(
            "native and expandable segments are mixed in one snapshot, which is not simulated. Record it with "
            "expandable_segments set before CUDA is used, and not changed after."
        )
    return kinds == {True}


def _kinds_of_pages(final: tuple[SegmentState, ...], trace: tuple[TraceEntry, ...]) -> list[_Page]:
    """List addresses at which pages are known to be small or large: of an expandable segment all are of one kind."""
    known = {_Page(segment.address, segment.is_small) for segment in final}
    for entry in trace:
        if entry.action == "segment_map":
            known.add(_Page(entry.address, entry.num_bytes == SMALL_SEGMENT))
        elif entry.action != "segment_unmap":
            known.add(_Page(entry.address, entry.num_bytes <= SMALL_REQUEST))
    return sorted(known)


def _contradiction(entry: TraceEntry, why: str) -> DataError:
    return DataError(
        f"entry {entry.position} ({entry.action} at {entry.address:#x}) contradicts what follows: {why}. Was the trace "
        "cut in the middle, recorded with skip_actions, or changed?"
    )
