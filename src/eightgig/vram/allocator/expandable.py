"""Where new memory comes from: segments of a fixed size, or address ranges that grow (expandable_segments:True).

Source: c10/cuda/CUDACachingAllocator.cpp: alloc_block, release_blocks; for the second find_expandable_block, map_block,
try_allocate_expandable_block, unmap_block. The second kind is unproven: it was not yet held against a GPU.
"""

from collections.abc import Iterable
from typing import Protocol

from eightgig.vram.allocator.blocks import SMALL_SEGMENT, AllocatorOptions, Block, BlockPool, Card

# torch reserves addresses for 9/8 of the card's memory. The card is not known here, and addresses cost nothing.
ADDRESS_RANGE = 1 << 44


class SegmentSource(Protocol):
    """What makes blocks out of the card's memory, and gives free ones back."""

    def grow(self, pool: BlockPool, size: int) -> Block | None:
        """Return a new block of at least `size`, in no pool; None where the card's cap is in the way."""

    def release(self, pools: Iterable[BlockPool]) -> None:
        """Release to the card what is free in these pools and can be released."""


class NativeSegments:
    """One cudaMalloc a segment, given back when it is free as a whole."""

    def __init__(self, card: Card, options: AllocatorOptions) -> None:
        self._card = card
        self._options = options

    def grow(self, pool: BlockPool, size: int) -> Block | None:
        """Return a new segment as one block."""
        num_bytes = self._options.segment_size(size)
        if not self._card.grants(num_bytes):
            return None
        self._card.take(num_bytes)
        self._card.count_segment(1)
        return Block(self._card.place(num_bytes), num_bytes, pool)

    def release(self, pools: Iterable[BlockPool]) -> None:
        """Release the segments that are free as a whole."""
        for pool in pools:
            for block in pool.free_blocks():
                if block.is_whole_segment:
                    self.release_segment(block)

    def release_segment(self, block: Block) -> None:
        """Release one segment: a free block without neighbours."""
        block.pool.remove(block)
        self._card.take(-block.size)
        self._card.count_segment(-1)


class ExpandableSegments:
    """One address range a pool; pages are mapped into it where they are needed (2 MiB small, 20 MiB large).

    A segment is counted for each address range. The cap holds for pages too, as on a card that has no more: torch
    checks the request alone (rounded as for a native segment) and leaves the pages to the driver.
    """

    def __init__(self, card: Card, options: AllocatorOptions) -> None:
        self._card = card
        self._options = options
        self._unmapped: dict[BlockPool, list[Block]] = {}
        self._origins: dict[BlockPool, int] = {}

    def grow(self, pool: BlockPool, size: int) -> Block | None:
        """Map pages at the lowest address where `size` fits, together with a free block before them."""
        if not self._card.grants(self._options.segment_size(size)):
            return None
        block = self._lowest_room(pool, size)
        if not block.mapped and not self._map(block, min(block.size, size)):
            return None
        while block.size < size:
            following = block.next
            if following is None or not self._map(following, min(size - block.size, following.size)):
                return None
            block = following  # it has taken in the block before it
        pool.remove(block)
        return block

    def release(self, pools: Iterable[BlockPool]) -> None:
        """Unmap the pages that lie wholly in free blocks, and give back address ranges without any page."""
        for pool in pools:
            for block in pool.free_blocks():
                self._unmap(block)
                if block.is_whole_segment and not block.mapped:
                    self._unmapped[pool].remove(block)
                    self._card.count_segment(-1)

    def adopt(self, pool: BlockPool, unmapped: Block, origin: int) -> None:
        """Take in an address range without memory, of a segment made elsewhere that begins at `origin`."""
        unmapped.mapped = False
        self._origins.setdefault(pool, origin)
        self._unmapped.setdefault(pool, []).append(unmapped)
        self._unmapped[pool].sort(key=_address)

    def _lowest_room(self, pool: BlockPool, size: int) -> Block:
        for unmapped in self._unmapped.get(pool, ()):
            before = unmapped.previous
            candidate = before if before is not None and before.is_free else unmapped
            if _has_room(candidate, size):
                return candidate
        return self._new_range(pool)

    def _new_range(self, pool: BlockPool) -> Block:
        page, address = self._page(pool), self._card.place(ADDRESS_RANGE)
        address += -(address - self._origins.get(pool, address)) % page  # pages count from the first range's start
        block = Block(address, ADDRESS_RANGE // page * page, pool)
        self.adopt(pool, block, address)
        self._card.count_segment(1)
        return block

    def _map(self, block: Block, size: int) -> bool:
        page = self._page(block.pool)
        num_bytes = min((size + page - 1) // page * page, block.size)
        if not self._card.grants(num_bytes):
            return False
        self._card.take(num_bytes)
        self._unmapped[block.pool].remove(block)
        if num_bytes < block.size:
            self.adopt(block.pool, _cut(block, num_bytes), block.address)
        block.mapped = True
        _absorb_free_neighbours(block)
        block.pool.add(block)
        return True

    def _unmap(self, block: Block) -> None:
        page, origin = self._page(block.pool), self._origins[block.pool]
        begin = origin + (block.address - origin + page - 1) // page * page
        end = origin + (block.address + block.size - origin) // page * page
        if begin >= end:
            return
        block.pool.remove(block)
        if end < block.address + block.size:
            block.pool.add(_cut(block, end - block.address))
        middle = block
        if begin > block.address:
            # the block itself becomes the unmapped part, as in torch, so the free part before it is the new one
            middle.pool.add(_cut_front(middle, begin - middle.address))
        self._card.take(-middle.size)
        middle.mapped = False
        self._absorb_unmapped_neighbours(middle)
        self.adopt(middle.pool, middle, origin)

    def _absorb_unmapped_neighbours(self, block: Block) -> None:
        for neighbour in (block.previous, block.next):
            if neighbour is not None and not neighbour.mapped:
                self._unmapped[block.pool].remove(neighbour)
                absorb(block, neighbour)

    def _page(self, pool: BlockPool) -> int:
        return SMALL_SEGMENT if pool.is_small else self._options.large_segment_bytes


def absorb(block: Block, neighbour: Block) -> None:
    """Merge a neighbour into a block: the neighbour is gone, its pool must have let go of it."""
    block.size += neighbour.size
    if neighbour is block.previous:
        block.address = neighbour.address
        block.previous = neighbour.previous
        if block.previous is not None:
            block.previous.next = block
    else:
        block.next = neighbour.next
        if block.next is not None:
            block.next.previous = block


def _absorb_free_neighbours(block: Block) -> None:
    for neighbour in (block.previous, block.next):
        if neighbour is not None and neighbour.is_free:
            block.pool.remove(neighbour)
            absorb(block, neighbour)


def _cut(block: Block, size: int) -> Block:
    """Keep `size` bytes of the block, and give the rest as a new block behind it."""
    rest = Block(block.address + size, block.size - size, block.pool)
    rest.previous, rest.next = block, block.next
    if block.next is not None:
        block.next.previous = rest
    block.next, block.size = rest, size
    return rest


def _cut_front(block: Block, size: int) -> Block:
    """Take `size` bytes from the block's front, and give them as a new block before it."""
    front = Block(block.address, size, block.pool)
    front.previous, front.next = block.previous, block
    if block.previous is not None:
        block.previous.next = front
    block.previous = front
    block.address += size
    block.size -= size
    return front


def _has_room(block: Block, size: int) -> bool:
    room = 0
    following: Block | None = block
    while room < size and following is not None and (following.is_free or not following.mapped):
        room += following.size
        following = following.next
    return room >= size


def _address(block: Block) -> int:
    return block.address
