"""The parts that the allocator's simulator works on: blocks, pools of free blocks, the settings, and the card.

Source: c10/core/AllocatorConfig.h (torch 2.14) for the constants, c10/cuda/CUDACachingAllocator.cpp for the rules.
"""

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass

from eightgig.core.errors import ConfigurationError
from eightgig.core.units import MIB, format_bytes

SMALLEST_BLOCK = 512  # kMinBlockSize: every size is a multiple of it
SMALL_REQUEST = MIB  # kSmallSize: requests up to here share small segments
SMALL_SEGMENT = 2 * MIB  # kSmallBuffer
OWN_SEGMENT_REQUEST = 10 * MIB  # kMinLargeAlloc: from here on a new segment is made for the one request
LARGE_SEGMENT = 20 * MIB  # kLargeBuffer, large_segment_size: shared by the requests in between
SEGMENT_STEP = 2 * MIB  # kRoundLarge: the size of a segment of its own is a multiple of it

PoolId = tuple[int, int]
"""As torch's MempoolId_t: the id of a CUDA graph's pool, and that of a pool of one's own; one of them is 0."""

DEFAULT_POOL: PoolId = (0, 0)  # all others belong to CUDA graphs or torch.cuda.MemPool
_ADDRESS_BITS = 64  # of a key's lower end
_FIRST_ADDRESS = 1 << 40  # any multiple of SEGMENT_STEP would do


@dataclass(frozen=True)
class AllocatorOptions:
    """The settings of PYTORCH_ALLOC_CONF that change what is reserved; the default is torch's.

    `garbage_collection_threshold` is not simulated.

    Attributes:
        large_segment_bytes: `large_segment_size_mb` (torch 2.10 and later).
        max_split_bytes: `max_split_size_mb`: blocks of this size or more are never split; None is no bound.
        max_non_split_rounding_bytes: `max_non_split_rounding_mb`: how much larger such a block may be than a request.
        roundup_power2_divisions: of each power of two from 1 MiB on, 16 numbers; empty rounds to 512 B only.

    Raises:
        ConfigurationError: `max_split_bytes` is below the size of a shared segment, which torch refuses too.
    """

    large_segment_bytes: int = LARGE_SEGMENT
    max_split_bytes: int | None = None
    max_non_split_rounding_bytes: int = LARGE_SEGMENT
    roundup_power2_divisions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.max_split_bytes is not None and self.max_split_bytes < self.large_segment_bytes:
            raise ConfigurationError(
                f"max_split_bytes is {format_bytes(self.max_split_bytes)}, but shared segments of "
                f"{format_bytes(self.large_segment_bytes)} must be split: set it to that or more, or to None."
            )

    def round_size(self, num_bytes: int) -> int:
        """Return the size of the block that `num_bytes` need (round_size)."""
        if num_bytes < SMALLEST_BLOCK:
            return SMALLEST_BLOCK
        if self.roundup_power2_divisions:
            divisions = self._divisions(num_bytes)
            if divisions > 1 and num_bytes > SMALLEST_BLOCK * divisions:
                return _next_division(num_bytes, divisions)
        return (num_bytes + SMALLEST_BLOCK - 1) // SMALLEST_BLOCK * SMALLEST_BLOCK

    def segment_size(self, size: int) -> int:
        """Return the bytes asked from the card for a block of `size` (get_allocation_size)."""
        if size <= SMALL_REQUEST:
            return SMALL_SEGMENT
        if size < OWN_SEGMENT_REQUEST:
            return self.large_segment_bytes
        return (size + SEGMENT_STEP - 1) // SEGMENT_STEP * SEGMENT_STEP

    def _divisions(self, num_bytes: int) -> int:
        last = len(self.roundup_power2_divisions) - 1
        return self.roundup_power2_divisions[min(max(num_bytes.bit_length() - MIB.bit_length(), 0), last)]


def _next_division(num_bytes: int, divisions: int) -> int:
    floor = 1 << (num_bytes.bit_length() - 1)
    if floor == num_bytes:
        return num_bytes
    step = floor >> (divisions.bit_length() - 1)
    return (num_bytes + step - 1) // step * step if step else floor << 1


class Block:
    """A range of a segment: held, free (in its pool), or an address range without memory (`mapped` is False).

    Attributes:
        address: of the first byte.
        size: bytes of the range; of a held block, the request rounded up, with what was too little to be split off.
        pool: where it goes when it is given back.
        previous, next: its neighbours in the segment.
    """

    __slots__ = ("address", "is_free", "mapped", "next", "pool", "previous", "size")

    def __init__(self, address: int, size: int, pool: "BlockPool") -> None:
        self.address = address
        self.size = size
        self.pool = pool
        self.is_free = False
        self.mapped = True
        self.previous: Block | None = None
        self.next: Block | None = None

    @property
    def is_whole_segment(self) -> bool:
        """Whether it has no neighbours, so that its segment can be given back to the card."""
        return self.previous is None and self.next is None


class BlockPool:
    """The free blocks of one stream, either the small or the large ones, by size and then by address.

    Attributes:
        keys: of the free blocks, ascending; see `key`.
        blocks: the free block of each key.
    """

    __slots__ = ("blocks", "is_small", "keys", "pool_id", "stream")

    def __init__(self, is_small: bool, stream: int, pool_id: PoolId) -> None:
        self.is_small = is_small
        self.stream = stream
        self.pool_id = pool_id
        self.keys: list[int] = []
        self.blocks: dict[int, Block] = {}

    def add(self, block: Block) -> None:
        """Take in a block that has become free."""
        block.is_free = True
        key = block.size << _ADDRESS_BITS | block.address  # one whole number compares faster than a pair
        insort(self.keys, key)
        self.blocks[key] = block

    def remove(self, block: Block) -> None:
        """Let go of a free block."""
        block.is_free = False
        key = block.size << _ADDRESS_BITS | block.address
        del self.keys[bisect_left(self.keys, key)]
        del self.blocks[key]

    def first_of_at_least(self, size: int) -> int:
        """Return the index in `keys` of the smallest block that holds `size`, the lowest address first."""
        return bisect_left(self.keys, size << _ADDRESS_BITS)

    def free_blocks(self) -> list[Block]:
        """List the free blocks, the smallest first."""
        return [self.blocks[key] for key in self.keys]


class Card:
    """The memory that the allocator may ask for, and what it has taken of it.

    Attributes:
        limit_bytes: the cap (`torch.cuda.set_per_process_memory_fraction`); None is no cap.
        reserved, peak_reserved: bytes taken now, and at most.
        num_segments, peak_segments: segments held now, and at most.
        highest_granted: the largest total that was asked for and granted: with any cap from here on, and below
            `lowest_refused`, all would have gone the same way.
        lowest_refused: the smallest total that was asked for and refused; None if none was.
    """

    def __init__(self, limit_bytes: int | None, next_address: Callable[[int], int] | None = None) -> None:
        self.limit_bytes = limit_bytes
        self.reserved = self.peak_reserved = 0
        self.num_segments = self.peak_segments = 0
        self.highest_granted = 0
        self.lowest_refused: int | None = None
        self._next_address = next_address or self._above_all
        self._top = _FIRST_ADDRESS

    def grants(self, num_bytes: int) -> bool:
        """Whether `num_bytes` more stay within the cap."""
        total = self.reserved + num_bytes
        if self.limit_bytes is not None and total > self.limit_bytes:
            self.lowest_refused = total if self.lowest_refused is None else min(self.lowest_refused, total)
            return False
        self.highest_granted = max(self.highest_granted, total)
        return True

    def take(self, num_bytes: int) -> None:
        """Count bytes as reserved; a negative number gives them back."""
        self.reserved += num_bytes
        self.peak_reserved = max(self.peak_reserved, self.reserved)

    def count_segment(self, change: int) -> None:
        """Count a segment made (1) or given back (-1)."""
        self.num_segments += change
        self.peak_segments = max(self.peak_segments, self.num_segments)

    def place(self, num_bytes: int) -> int:
        """Return the address of a new range of `num_bytes`."""
        return self._next_address(num_bytes)

    def _above_all(self, num_bytes: int) -> int:
        address = self._top
        self._top += (num_bytes + SEGMENT_STEP - 1) // SEGMENT_STEP * SEGMENT_STEP
        return address
