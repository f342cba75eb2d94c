"""A simulator of torch's CUDA caching allocator on one device: what is reserved for what is asked for.

Source: DeviceCachingAllocator in c10/cuda/CUDACachingAllocator.cpp (malloc, get_free_block, should_split, free_block,
release_available_cached_blocks, release_cached_blocks), the same from torch 2.1 to 2.14 in what is simulated here.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from eightgig.core.errors import DataError, EightgigError
from eightgig.core.units import format_bytes
from eightgig.vram.allocator.blocks import (
    DEFAULT_POOL,
    SMALL_REQUEST,
    SMALLEST_BLOCK,
    AllocatorOptions,
    Block,
    BlockPool,
    Card,
    PoolId,
)
from eightgig.vram.allocator.expandable import ExpandableSegments, NativeSegments, absorb

Segments = Literal["native", "expandable"]


class SimulatedOutOfMemoryError(EightgigError, MemoryError):
    """The simulated card has no room for a request, as torch.OutOfMemoryError says it of a real one.

    Attributes:
        wanted_bytes: the request, rounded.
        limit_bytes: the cap.
        reserved_bytes, allocated_bytes: held when it failed, after all that could be was given back.
    """

    def __init__(self, wanted_bytes: int, limit_bytes: int, reserved_bytes: int, allocated_bytes: int) -> None:
        super().__init__(
            f"a block of {format_bytes(wanted_bytes)} does not fit: {format_bytes(limit_bytes)} allowed, "
            f"{format_bytes(reserved_bytes)} reserved, of which {format_bytes(allocated_bytes)} allocated."
        )
        self.wanted_bytes = wanted_bytes
        self.limit_bytes = limit_bytes
        self.reserved_bytes = reserved_bytes
        self.allocated_bytes = allocated_bytes


class CachingAllocator:
    """Gives and takes back blocks as torch does, and counts what that reserves.

    Equal sizes are told apart by address, as in torch; new segments are assumed to lie above all older ones, where a
    real cudaMalloc may take up addresses that were given back. `segments="expandable"` is unproven.

    Args:
        limit_bytes: the cap on what is reserved; None is no cap.
        segments: `native` (cudaMalloc), or `expandable` (expandable_segments:True).
        options: torch's settings.
        next_address: gives the address of a new range of so many bytes, to follow a real card's; the ranges must not
            overlap.

    Attributes:
        allocated, peak_allocated: bytes of held blocks now and at most (torch's `allocated_bytes.all`).
        num_retries: how often all free segments were given back to try again (torch's `num_alloc_retries`).
        card: what was taken of the card.
    """

    def __init__(
        self,
        limit_bytes: int | None = None,
        *,
        segments: Segments = "native",
        options: AllocatorOptions | None = None,
        next_address: Callable[[int], int] | None = None,
    ) -> None:
        self.allocated = self.peak_allocated = self.num_retries = 0
        self.card = Card(limit_bytes, next_address)
        self.options = options or AllocatorOptions()
        self.native = NativeSegments(self.card, self.options)
        self.expandable = ExpandableSegments(self.card, self.options) if segments == "expandable" else None
        self._source = self.expandable or self.native
        self._pools: dict[tuple[bool, int, PoolId], BlockPool] = {}

    @property
    def reserved(self) -> int:
        """Bytes taken from the card (torch's `reserved_bytes.all`)."""
        return self.card.reserved

    @property
    def peak_reserved(self) -> int:
        """The most bytes that were taken from the card at once."""
        return self.card.peak_reserved

    @property
    def num_segments(self) -> int:
        """Segments held; of expandable ones, address ranges."""
        return self.card.num_segments

    @property
    def peak_segments(self) -> int:
        """The most segments that were held at once."""
        return self.card.peak_segments

    def malloc(self, num_bytes: int, stream: int = 0, pool_id: PoolId = DEFAULT_POOL) -> Block:
        """Return a block of at least `num_bytes`, for one stream and pool.

        Raises:
            SimulatedOutOfMemoryError: it does not fit under the cap, even after all free segments were given back.
        """
        size = self.options.round_size(num_bytes)
        pool = self._pools.get((size <= SMALL_REQUEST, stream, pool_id)) or self.pool(
            size <= SMALL_REQUEST, stream, pool_id
        )
        block = self._best_fit(pool, size) or self._new_block(pool, size)
        if block.size != size:
            self._split(block, size)
        self.allocated += block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return block

    def free(self, block: Block) -> None:
        """Take a block back; it can be given again at once."""
        self.retire(block)
        self.recycle(block)

    def retire(self, block: Block) -> None:
        """Count a block as not allocated any more while other streams still use it (record_stream)."""
        self.allocated -= block.size

    def recycle(self, block: Block) -> None:
        """Make a retired block free, merged with its free neighbours."""
        pool = block.pool
        previous, following = block.previous, block.next
        if previous is not None and previous.is_free:
            pool.remove(previous)
            absorb(block, previous)
        if following is not None and following.is_free:
            pool.remove(following)
            absorb(block, following)
        pool.add(block)

    def empty_cache(self, pool_ids: Iterable[PoolId] = (DEFAULT_POOL,)) -> None:
        """Release what is free in the pools of these ids, of all streams (torch.cuda.empty_cache)."""
        chosen = set(pool_ids)
        self._source.release([pool for pool in self._pools.values() if pool.pool_id in chosen])

    def pool(self, is_small: bool, stream: int = 0, pool_id: PoolId = DEFAULT_POOL) -> BlockPool:
        """Return the pool of free blocks of a kind; it is made when it is first asked for."""
        return self._pools.setdefault((is_small, stream, pool_id), BlockPool(is_small, stream, pool_id))

    def pools(self) -> Sequence[BlockPool]:
        """List all pools made so far."""
        return tuple(self._pools.values())

    def adopt(self, blocks: Sequence[Block], held: Sequence[bool]) -> None:
        """Take in a segment that exists already, as blocks from its first to its last byte.

        Args:
            blocks: neighbours in order; a block that is neither held nor mapped stands for addresses without memory.
            held: of each block, whether it is allocated or waits to become free.
        """
        for block, following in itertools.pairwise(blocks):
            block.next, following.previous = following, block
        for block, is_held in zip(blocks, held, strict=True):
            if not block.mapped:
                self._expandable_source().adopt(block.pool, block, blocks[0].address)
            elif not is_held:
                block.pool.add(block)
        self.card.take(sum(block.size for block in blocks if block.mapped))
        self.card.count_segment(1)

    def _expandable_source(self) -> ExpandableSegments:
        if self.expandable is None:
            raise DataError("a segment with unmapped addresses needs segments='expandable'.")
        return self.expandable

    def _best_fit(self, pool: BlockPool, size: int) -> Block | None:
        keys = pool.keys
        index = pool.first_of_at_least(size)
        if index == len(keys):
            return None
        if self.expandable is not None:
            index = _least_expandable(pool, index)
        block = pool.blocks[keys[index]]
        if self.options.max_split_bytes is not None and self._is_oversize(block, size, self.options.max_split_bytes):
            return None
        del pool.blocks[keys.pop(index)]
        block.is_free = False
        return block

    def _is_oversize(self, block: Block, size: int, max_split_bytes: int) -> bool:
        if size < max_split_bytes:
            return block.size >= max_split_bytes
        return block.size >= size + self.options.max_non_split_rounding_bytes

    def _new_block(self, pool: BlockPool, size: int) -> Block:
        block = self._source.grow(pool, size)
        if block is None and self._release_oversize(pool, size):
            block = self._source.grow(pool, size)
        if block is None:
            self.num_retries += 1
            self.empty_cache()
            block = self._source.grow(pool, size)
        if block is None:
            raise SimulatedOutOfMemoryError(size, self.card.limit_bytes or 0, self.reserved, self.allocated)
        return block

    def _release_oversize(self, pool: BlockPool, size: int) -> bool:
        """Release one segment that is large enough, else the largest until they are; return whether it was enough."""
        if self.options.max_split_bytes is None or self.expandable is not None:
            return False
        wanted = max(size, self.options.max_split_bytes)
        index = pool.first_of_at_least(wanted)
        if index < len(pool.keys):
            self.native.release_segment(pool.blocks[pool.keys[index]])
            return True
        released = 0
        while released < wanted and pool.keys:
            largest = pool.blocks[pool.keys[-1]]
            if largest.size < self.options.max_split_bytes:
                break
            self.native.release_segment(largest)
            released += largest.size
        return released >= wanted

    def _split(self, block: Block, size: int) -> None:
        """Cut off what a block has too much and make it a free block, unless that is too little to be of use."""
        rest = block.size - size
        if not self._may_split(block.pool, size, rest):
            return
        remainder = Block(block.address + size, rest, block.pool)
        remainder.previous, remainder.next = block, block.next
        if block.next is not None:
            block.next.previous = remainder
        block.next, block.size = remainder, size
        block.pool.add(remainder)

    def _may_split(self, pool: BlockPool, size: int, rest: int) -> bool:
        if pool.is_small or self.expandable is not None:
            return rest >= SMALLEST_BLOCK
        return rest > SMALL_REQUEST and (self.options.max_split_bytes is None or size < self.options.max_split_bytes)


def _least_expandable(pool: BlockPool, index: int) -> int:
    """Go on to larger blocks as long as they can grow less: a block that can grow is kept for later."""
    keys, blocks = pool.keys, pool.blocks
    while index + 1 < len(keys) and _grown_size(blocks[keys[index + 1]]) < _grown_size(blocks[keys[index]]):
        index += 1
    return index


def _grown_size(block: Block) -> int:
    following = block.next
    return block.size + (following.size if following is not None and not following.mapped else 0)
