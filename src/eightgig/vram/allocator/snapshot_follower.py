"""The simulator, led through what a snapshot tells: the same requests, on segments at the same addresses."""

import itertools
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator

from eightgig.vram.allocator.blocks import DEFAULT_POOL, Block, BlockPool
from eightgig.vram.allocator.caching import CachingAllocator
from eightgig.vram.allocator.expandable import ADDRESS_RANGE
from eightgig.vram.allocator.snapshot_file import TraceEntry
from eightgig.vram.allocator.snapshot_history import History
from eightgig.vram.allocator.snapshot_undo import HeldBlock, Segment

_RELEASES = ("segment_free", "segment_unmap")  # of native and of expandable segments
_BEYOND_ANY_CARD = 1 << 62  # addresses of simulated segments that the real allocator did not make


class _Addresses:
    """Places new segments where the real allocator had them, as long as both hold the same ones."""

    def __init__(self) -> None:
        self.pending: deque[TraceEntry] = deque()
        self.are_alike = True
        self._beyond = _BEYOND_ANY_CARD

    def __call__(self, num_bytes: int) -> int:
        if self.are_alike and self.pending and num_bytes in (self.pending[0].num_bytes, ADDRESS_RANGE):
            return self.pending.popleft().address
        self._beyond += num_bytes
        return self._beyond - num_bytes


class Follower:
    """Replays a history and says where the simulator goes another way.

    Attributes:
        allocator: the simulator, with its peaks.
        first_difference: position of the first action that differs; None while there is none.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._addresses = _Addresses()
        self.allocator = CachingAllocator(
            segments="expandable" if history.is_expandable else "native",
            options=history.options,
            next_address=self._addresses,
        )
        self.first_difference: int | None = None
        self._blocks: dict[int, Block] = {}
        self._held_starts = sorted(history.held)
        self._adopt_all()

    def follow(self) -> None:
        """Replay all."""
        for index, entry in enumerate(self._history.entries):
            if entry.action == "alloc":
                self._request(index, entry)
            elif entry.action == "free_requested":
                self.allocator.retire(self._blocks[entry.address])
            elif entry.action == "free_completed":
                self.allocator.recycle(self._blocks.pop(entry.address))
            elif entry.action in _RELEASES:
                self._release(index, entry)
            else:
                self._addresses.pending.append(entry)

    def _request(self, index: int, entry: TraceEntry) -> None:
        block = self.allocator.malloc(entry.num_bytes, entry.stream, entry.pool_id or DEFAULT_POOL)
        self._blocks[entry.address] = block
        self._addresses.pending.clear()
        totals = self._history.totals[index]
        same_count = self._history.is_expandable or self.allocator.num_segments == totals.num_segments
        self._note(entry, block.address == entry.address and self.allocator.reserved == totals.reserved and same_count)

    def _note(self, entry: TraceEntry, is_alike: bool) -> None:
        if not is_alike and self.first_difference is None:
            self.first_difference = entry.position
            self._addresses.are_alike = False

    def _release(self, index: int, entry: TraceEntry) -> None:
        """Release all that is free at the first of several releases, or where that is not the rule, the one named."""
        if self._history.releases == "named" and not self._history.is_expandable:
            found = [block for block in self._free_segments() if block.address == entry.address]
            self._note(entry, len(found) == 1)
            for block in found:
                self.allocator.native.release_segment(block)
        elif index == 0 or self._history.entries[index - 1].action not in _RELEASES:
            self._release_all(entry, _releases_from(self._history.entries, index))

    def _release_all(self, entry: TraceEntry, released: list[TraceEntry]) -> None:
        pool_ids = {one.pool_id or DEFAULT_POOL for one in released}
        free = {block.address for block in self._free_segments() if block.pool.pool_id in pool_ids}
        self._note(entry, self._history.is_expandable or free == {one.address for one in released})
        self.allocator.empty_cache(pool_ids)

    def _free_segments(self) -> list[Block]:
        return [block for pool in self.allocator.pools() for block in pool.free_blocks() if block.is_whole_segment]

    def _adopt_all(self) -> None:
        chains: dict[object, list[Segment]] = {}
        for segment in self._history.segments:  # of an expandable segment, all ranges of pages are neighbours
            key = (segment.is_small, segment.stream, segment.pool_id)
            chains.setdefault(key if self._history.is_expandable else segment.address, []).append(segment)
        for segments in chains.values():
            self._adopt(segments)
        self.allocator.peak_allocated = self.allocator.allocated

    def _adopt(self, segments: list[Segment]) -> None:
        blocks: list[Block] = []
        held: list[bool] = []
        for block, state in self._chain(segments):
            blocks.append(block)
            held.append(state is not None)
            if state is not None:
                self._blocks[block.address] = block
                self.allocator.allocated += block.size if state.is_allocated else 0
        self.allocator.adopt(blocks, held)

    def _chain(self, segments: list[Segment]) -> Iterator[tuple[Block, HeldBlock | None]]:
        """Yield the blocks of neighbouring segments, from the first address to the last."""
        first = segments[0]
        pool = self.allocator.pool(first.is_small, first.stream, first.pool_id)
        position = first.address
        for segment in segments:
            if position < segment.address:
                yield _without_memory(Block(position, segment.address - position, pool)), None
            yield from self._blocks_of(segment, pool)
            position = segment.end
        if self._history.is_expandable:
            yield _without_memory(Block(position, ADDRESS_RANGE, pool)), None

    def _blocks_of(self, segment: Segment, pool: BlockPool) -> Iterator[tuple[Block, HeldBlock | None]]:
        """Cut a segment into its held blocks and the free ones between them."""
        position, held = segment.address, self._history.held
        begin, end = (bisect_left(self._held_starts, address) for address in (segment.address, segment.end))
        for address in self._held_starts[begin:end]:
            if position < address:
                yield Block(position, address - position, pool), None
            yield Block(address, held[address].num_bytes, pool), held[address]
            position = address + held[address].num_bytes
        if position < segment.end:
            yield Block(position, segment.end - position, pool), None


def _without_memory(block: Block) -> Block:
    block.mapped = False
    return block


def _releases_from(entries: tuple[TraceEntry, ...], index: int) -> list[TraceEntry]:
    """Return all releases in a row from `index` on."""
    return list(itertools.takewhile(lambda entry: entry.action in _RELEASES, itertools.islice(entries, index, None)))
