"""The allocator's simulator against arithmetic by hand, from the rules of c10/cuda/CUDACachingAllocator.cpp."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.core.errors import ConfigurationError
from eightgig.core.units import KIB, MIB
from eightgig.vram.allocator.blocks import AllocatorOptions
from eightgig.vram.allocator.caching import CachingAllocator, SimulatedOutOfMemoryError


@pytest.mark.parametrize(
    ("num_bytes", "allocated", "reserved"),
    [
        (1, 512, 2 * MIB),  # 512 B is the least; small requests share segments of 2 MiB
        (513, 1024, 2 * MIB),  # rounded up to 512 B
        (MIB, MIB, 2 * MIB),  # 1 MiB is the last small one
        (MIB + 1, MIB + 512, 20 * MIB),  # the first large one: segments of 20 MiB
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),  # the last that shares one
        (10 * MIB, 10 * MIB, 10 * MIB),  # from 10 MiB on a segment of its own, a multiple of 2 MiB
        (10 * MIB + 1, 12 * MIB, 12 * MIB),  # 2 MiB - 512 B are left, but see the next test: > 1 MiB is split off
    ],
)
def test_one_request_is_rounded_and_takes_a_segment(num_bytes, allocated, reserved):
    allocator = CachingAllocator()
    allocator.malloc(num_bytes)
    if num_bytes == 10 * MIB + 1:
        allocated = 10 * MIB + 512  # 12 MiB less 10 MiB + 512 B is more than 1 MiB: split
    assert (allocator.allocated, allocator.reserved, allocator.num_segments) == (allocated, reserved, 1)


def test_a_large_block_keeps_up_to_1_mib_that_it_did_not_ask_for():
    # 19 MiB takes a segment of 20 MiB; 1 MiB is not more than 1 MiB, so nothing is split off.
    allocator = CachingAllocator()
    assert allocator.malloc(19 * MIB).size == 20 * MIB
    assert allocator.allocated == 20 * MIB
    # 512 B less leaves 1 MiB + 512 B, which is.
    assert CachingAllocator().malloc(19 * MIB - 512).size == 19 * MIB - 512


def test_a_small_block_is_split_down_to_512_bytes():
    # 2 MiB - 512 B is more than a small request can be; two of 1 MiB - 256 KiB leave 512 KiB in the segment.
    allocator = CachingAllocator()
    first, second = allocator.malloc(768 * KIB), allocator.malloc(768 * KIB)
    assert second.address == first.address + 768 * KIB
    assert allocator.malloc(512 * KIB).address == first.address + 1536 * KIB
    assert allocator.reserved == 2 * MIB


def test_the_smallest_block_that_fits_is_taken_and_of_equal_ones_the_lowest():
    # Three segments of 20, 14 and 14 MiB become free; 13 MiB fits all: 14 MiB is the best, and the first of them lower.
    allocator = CachingAllocator()
    blocks = [allocator.malloc(size * MIB) for size in (20, 14, 14)]
    for block in reversed(blocks):
        allocator.free(block)
    assert allocator.malloc(13 * MIB).address == blocks[1].address
    assert allocator.malloc(13 * MIB).address == blocks[2].address
    assert allocator.malloc(13 * MIB).address == blocks[0].address
    assert allocator.reserved == 48 * MIB


def test_neighbours_merge_when_they_become_free():
    # Four blocks of 5 MiB fill a segment of 20 MiB. The outer two of the first three leave 5 + 5 MiB apart: 9 MiB does
    # not fit, and takes a second segment. With the middle one free 15 MiB are in one piece, which 11 MiB fits into.
    allocator = CachingAllocator()
    first, middle, last, _ = (allocator.malloc(5 * MIB) for _ in range(4))
    allocator.free(first)
    allocator.free(last)
    other = allocator.malloc(9 * MIB)
    assert (allocator.reserved, allocator.num_segments) == (40 * MIB, 2)
    allocator.free(other)
    allocator.free(middle)
    assert allocator.malloc(11 * MIB).address == first.address  # 15 MiB is a better fit than 20
    assert allocator.reserved == 40 * MIB


def test_streams_and_private_pools_do_not_share_what_is_free():
    allocator = CachingAllocator()
    allocator.free(allocator.malloc(12 * MIB, stream=0))
    allocator.free(allocator.malloc(12 * MIB, stream=7))
    allocator.free(allocator.malloc(12 * MIB, stream=0, pool_id=(0, 1)))
    assert (allocator.reserved, allocator.num_segments) == (36 * MIB, 3)
    allocator.malloc(12 * MIB, stream=7)
    assert allocator.reserved == 36 * MIB
    allocator.empty_cache()  # stream 0 of the default pool is free, stream 7 is not, the private pool is not meant
    assert allocator.reserved == 24 * MIB
    allocator.empty_cache([(0, 1)])
    assert allocator.reserved == 12 * MIB


def test_a_retired_block_is_neither_free_nor_allocated():
    # record_stream: the 12 MiB are given back, but another stream still uses them.
    allocator = CachingAllocator()
    block = allocator.malloc(12 * MIB)
    allocator.retire(block)
    assert allocator.allocated == 0
    assert allocator.malloc(12 * MIB).address != block.address
    allocator.recycle(block)
    assert allocator.malloc(12 * MIB).address == block.address
    assert (allocator.allocated, allocator.peak_allocated) == (24 * MIB, 24 * MIB)


def test_at_the_cap_whole_free_segments_are_given_back_and_others_stay():
    # Under 60 MiB: 20 MiB free as a whole, 20 MiB half free (a block of 8 MiB lies in it). 30 MiB more would be 70 MiB.
    # The first is given back: 20 + 30 = 50 MiB. The free 12 MiB of the second stay reserved.
    allocator = CachingAllocator(60 * MIB)
    free = allocator.malloc(20 * MIB)
    allocator.malloc(8 * MIB)
    allocator.free(free)
    allocator.malloc(30 * MIB)
    assert (allocator.reserved, allocator.peak_reserved, allocator.num_retries) == (50 * MIB, 50 * MIB, 1)
    assert (allocator.num_segments, allocator.peak_segments) == (2, 2)


def test_a_free_block_is_preferred_to_a_retry():
    # 20 MiB are free as a whole when 8 MiB is asked for: best fit takes them, and nothing is given back.
    allocator = CachingAllocator(20 * MIB)
    allocator.free(allocator.malloc(20 * MIB))
    allocator.malloc(8 * MIB)
    assert allocator.num_retries == 0


def test_out_of_memory_says_what_was_wanted_and_what_is_held():
    # 30 MiB held, cap 60 MiB: 32 MiB more are 62 MiB. It is a retry that failed, too.
    allocator = CachingAllocator(60 * MIB)
    allocator.malloc(30 * MIB)
    with pytest.raises(SimulatedOutOfMemoryError) as caught:
        allocator.malloc(31 * MIB)
    assert str(caught.value) == (
        "a block of 31.0 MiB does not fit: 60.0 MiB allowed, 30.0 MiB reserved, of which 30.0 MiB allocated."
    )
    assert isinstance(caught.value, MemoryError)
    assert (allocator.num_retries, allocator.reserved) == (1, 30 * MIB)
    assert (caught.value.wanted_bytes, caught.value.limit_bytes) == (31 * MIB, 60 * MIB)


def test_the_cap_itself_is_allowed():
    assert CachingAllocator(20 * MIB).malloc(20 * MIB).size == 20 * MIB


def test_blocks_of_max_split_size_are_not_split_nor_lent_to_small_requests():
    # max_split_size 64 MiB: a free block of 100 MiB is not for 30 MiB, nor for 80 MiB (100 >= 80 + 20), but it is for
    # 81 MiB, whole.
    allocator = CachingAllocator(options=AllocatorOptions(max_split_bytes=64 * MIB))
    allocator.free(allocator.malloc(100 * MIB))
    allocator.malloc(30 * MIB)
    assert allocator.reserved == 130 * MIB
    allocator.malloc(80 * MIB)
    assert allocator.reserved == 210 * MIB
    assert allocator.malloc(81 * MIB).size == 100 * MIB
    assert allocator.reserved == 210 * MIB


def test_with_max_split_size_only_as_much_is_given_back_as_is_needed():
    # Cap 300 MiB, 100 + 120 MiB free, both oversize. 90 MiB: the best fit is 100 < 90 + 20, so it is taken. 70 MiB then
    # finds 120 >= 70 + 20 only; 220 + 70 = 290 MiB fits. 66 MiB more does not: the free block of 120 MiB goes.
    allocator = CachingAllocator(300 * MIB, options=AllocatorOptions(max_split_bytes=64 * MIB))
    first, second = allocator.malloc(100 * MIB), allocator.malloc(120 * MIB)
    allocator.free(first)
    allocator.free(second)
    assert allocator.malloc(90 * MIB).size == 100 * MIB
    allocator.malloc(70 * MIB)
    assert allocator.reserved == 290 * MIB
    allocator.malloc(66 * MIB)
    assert (allocator.reserved, allocator.num_retries) == (236 * MIB, 0)


def test_with_max_split_size_several_blocks_go_where_one_is_too_small():
    # Cap 200 MiB, 66 + 66 + 66 MiB free. 130 MiB: no single one is enough, so the largest go until there is room: two.
    allocator = CachingAllocator(200 * MIB, options=AllocatorOptions(max_split_bytes=64 * MIB))
    for block in [allocator.malloc(66 * MIB) for _ in range(3)]:
        allocator.free(block)
    allocator.malloc(130 * MIB)
    assert (allocator.reserved, allocator.num_retries) == (196 * MIB, 0)


def test_with_max_split_size_all_goes_where_the_large_blocks_are_not_enough():
    # Cap 200 MiB, 66 + 30 + 30 MiB free. 120 MiB: of blocks that are never split there are 66 MiB, which is too little,
    # so torch does not even try before it has given back all.
    allocator = CachingAllocator(200 * MIB, options=AllocatorOptions(max_split_bytes=64 * MIB))
    for block in [allocator.malloc(size * MIB) for size in (66, 30, 30)]:
        allocator.free(block)
    allocator.malloc(120 * MIB)
    assert (allocator.reserved, allocator.num_retries) == (120 * MIB, 1)


def test_max_split_size_must_allow_shared_segments():
    with pytest.raises(ConfigurationError) as caught:
        AllocatorOptions(max_split_bytes=10 * MIB)
    assert str(caught.value) == (
        "max_split_bytes is 10.0 MiB, but shared segments of 20.0 MiB must be split: "
        "set it to that or more, or to None."
    )


@pytest.mark.parametrize(
    ("num_bytes", "rounded"),
    [
        (1200 * KIB, 1280 * KIB),  # between 1 and 2 MiB in four steps of 256 KiB: 1280 KiB is the next
        (1280 * KIB, 1280 * KIB),
        (1281 * KIB, 1536 * KIB),
        (2 * MIB, 2 * MIB),  # powers of two stay
        (3 * MIB + 1, 3 * MIB + 256 * KIB),  # from 2 MiB on there are eight steps, of 256 KiB
        (2000, 2048),  # not more than 512 B x 4: rounded to 512 B only
        (2049, 2560),  # between 2 and 4 KiB in four steps of 512 B
    ],
)
def test_roundup_power2_divisions(num_bytes, rounded):
    divisions = (4, 8, *(0,) * 14)  # below 2 MiB four, below 4 MiB eight, none above
    options = AllocatorOptions(roundup_power2_divisions=divisions)
    assert options.round_size(num_bytes) == rounded
    assert options.round_size(5 * MIB + 1) == 5 * MIB + 512


def test_more_divisions_than_bytes_rounds_to_the_next_power_of_two():
    # 64 Ki divisions of 40 KiB would be below one byte; torch then takes the next power of two. It never gets there, as
    # sizes up to 512 B x divisions are rounded to 512 B only; so the step is never 0 in what torch rounds.
    assert AllocatorOptions(roundup_power2_divisions=(65536,) * 16).round_size(40 * KIB + 1) == 40 * KIB + 512


def test_large_segments_of_another_size():
    allocator = CachingAllocator(options=AllocatorOptions(large_segment_bytes=64 * MIB))
    allocator.malloc(2 * MIB)
    assert allocator.reserved == 64 * MIB


def test_addresses_can_be_given():
    given_addresses = iter([1 << 30, 1 << 20])
    allocator = CachingAllocator(next_address=lambda _: next(given_addresses))
    high, low = allocator.malloc(12 * MIB), allocator.malloc(12 * MIB)
    allocator.free(high)
    allocator.free(low)
    assert allocator.malloc(12 * MIB).address == 1 << 20  # of equal sizes the lowest address


# Expandable segments: unproven on a GPU; these hold the rules as read in the source.


def test_an_expandable_segment_grows_by_pages():
    # Large pages are 20 MiB: 30 MiB need two of them. 5 MiB fits into the 10 MiB left; 8 MiB then needs a third, and
    # begins in the 5 MiB that are left. Native segments would be 30 + 20 MiB.
    allocator = CachingAllocator(segments="expandable")
    first = allocator.malloc(30 * MIB)
    assert allocator.reserved == 40 * MIB
    allocator.malloc(5 * MIB)
    assert allocator.reserved == 40 * MIB
    third = allocator.malloc(8 * MIB)
    assert (allocator.reserved, third.address) == (60 * MIB, first.address + 35 * MIB)
    assert allocator.num_segments == 1
    allocator.malloc(600 * KIB)  # small pages are 2 MiB, in a range of their own
    assert (allocator.reserved, allocator.num_segments) == (62 * MIB, 2)


def test_an_expandable_block_is_split_down_to_512_bytes():
    # Native would keep the last 1 MiB of 20 MiB with the block of 19 MiB.
    assert CachingAllocator(segments="expandable").malloc(19 * MIB).size == 19 * MIB


def test_a_block_that_can_grow_is_kept_for_later():
    # 60 MiB: 20 held, 25 free, 15 held, and 0 free at the end of the pages... then 10 MiB at the end become free. 5 MiB
    # fits the 10 MiB best, but these can grow into all the addresses behind them, so the 25 MiB are taken.
    allocator = CachingAllocator(segments="expandable")
    _, free, _, last = (allocator.malloc(size * MIB) for size in (20, 25, 5, 10))
    allocator.free(free)
    allocator.free(last)
    assert allocator.malloc(5 * MIB).address == free.address
    assert allocator.reserved == 60 * MIB


def test_at_the_cap_whole_free_pages_are_unmapped_and_used_elsewhere():
    # Cap 110 MiB. 50 + 50 MiB fill 5 pages of 20 MiB (torch asks for 60 + 50 = 110 MiB when it maps the last two). The
    # first is free, and 60 MiB are wanted: 100 + 60 is too much. Of the free 50 MiB the pages 0 and 1 lie wholly in it
    # (40 MiB), page 2 is shared: 60 MiB stay, and 60 + 60 is still too much.
    allocator = CachingAllocator(110 * MIB, segments="expandable")
    first = allocator.malloc(50 * MIB)
    allocator.malloc(50 * MIB)
    allocator.free(first)
    with pytest.raises(SimulatedOutOfMemoryError):
        allocator.malloc(60 * MIB)
    assert (allocator.reserved, allocator.num_retries) == (60 * MIB, 1)
    # 50 MiB fit again, at the lowest address: pages 0 and 1 are mapped once more, and join the 10 MiB behind them.
    again = allocator.malloc(50 * MIB)
    assert (again.address, again.size, allocator.reserved) == (first.address, 50 * MIB, 100 * MIB)


def test_the_cap_counts_the_whole_request_though_part_of_it_is_mapped():
    # 50 MiB fill 60 MiB of pages. 50 MiB more need 40 MiB, which 100 MiB would hold; torch asks for 60 + 50 = 110.
    allocator = CachingAllocator(100 * MIB, segments="expandable")
    allocator.malloc(50 * MIB)
    with pytest.raises(SimulatedOutOfMemoryError):
        allocator.malloc(50 * MIB)


def test_an_empty_expandable_segment_is_given_back():
    allocator = CachingAllocator(segments="expandable")
    allocator.free(allocator.malloc(50 * MIB))
    allocator.empty_cache()
    assert (allocator.reserved, allocator.num_segments) == (0, 0)
    allocator.malloc(MIB * 5)
    assert (allocator.reserved, allocator.num_segments) == (20 * MIB, 1)


SIZES = st.one_of(
    st.integers(1, 4096),
    st.integers(1, 2 * MIB),
    st.integers(MIB, 11 * MIB),
    st.integers(10 * MIB, 60 * MIB),
    st.sampled_from([512, MIB, MIB + 1, 10 * MIB - 1, 10 * MIB, 19 * MIB, 20 * MIB]),
)
# A step takes a block (a size), gives back one of the held (a share of the list), or empties the cache (None).
STEPS = st.lists(st.one_of(SIZES, SIZES, st.floats(0, 0.999), st.none()), max_size=60)


@settings(max_examples=120, deadline=None)
@given(steps=STEPS, limit_mib=st.none() | st.integers(20, 200), kind=st.sampled_from(["native", "expandable"]))
def test_whatever_is_asked_nothing_overlaps_and_nothing_is_lost(steps, limit_mib, kind):
    limit = None if limit_mib is None else limit_mib * MIB
    allocator = CachingAllocator(limit, segments=kind)
    held = []
    for step in steps:
        if step is None:
            allocator.empty_cache()
        elif isinstance(step, float):
            if held:
                allocator.free(held.pop(int(step * len(held))))
        else:
            try:
                held.append(allocator.malloc(step, stream=step % 2))
            except SimulatedOutOfMemoryError:
                continue
            assert held[-1].size >= step
        check_state(allocator, held, kind)
        assert limit is None or allocator.reserved <= limit
    for block in held:
        allocator.free(block)
    check_state(allocator, [], kind)
    allocator.empty_cache()
    assert (allocator.allocated, allocator.reserved) == (0, 0)
    assert kind == "expandable" or allocator.num_segments == 0  # an address range may be left that never got a page


def check_state(allocator, held, kind):
    free = [block for pool in allocator.pools() for block in pool.free_blocks()]
    assert allocator.allocated == sum(block.size for block in held)
    assert allocator.reserved == sum(block.size for block in [*held, *free])  # conservation
    ranges = sorted((block.address, block.address + block.size) for block in [*held, *free])
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))
    for block in free:
        assert block.is_free and not (block.next is not None and block.next.is_free)  # neighbours are merged
        assert kind == "expandable" or block.pool.is_small or block.size > MIB  # what was split off is of use
    for block in [*held, *free]:
        assert block.next is None or (block.next.previous is block and block.next.address == block.address + block.size)
    if not held and kind == "native":
        assert all(block.is_whole_segment for block in free)
