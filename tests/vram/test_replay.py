"""What a trace reserves, and its smallest cap, by hand arithmetic and against trying every cap."""

import random
import time

import pytest

from eightgig.core.errors import DataError
from eightgig.core.units import MIB
from eightgig.vram.allocator.caching import SimulatedOutOfMemoryError
from eightgig.vram.allocator.events import Event
from eightgig.vram.allocator.replay import Replay, min_memory_limit, replay

NOT_MONOTONIC = 114  # seed of a random trace that holds from 334 MiB on, fails again up to 350, and holds from 352 on


def trace(*steps):
    """Read '+a 30' as block a takes 30 MiB, '-a' as it is given back."""
    names, events = {}, []
    for step in steps:
        name, _, size = step[1:].partition(" ")
        if step[0] == "+":
            names[name] = len(events)
            events.append(Event(names[name], int(float(size) * MIB)))
        else:
            events.append(Event(names.pop(name), 0))
    return tuple(events)


def random_trace(seed, num_events=150):
    chance, events, held = random.Random(seed), [], []
    for number in range(num_events):
        if held and chance.random() < 0.47:
            events.append(Event(held.pop(chance.randrange(len(held))), 0))
            continue
        held.append(number)
        ranges = ((1, 2 * MIB), (MIB, 12 * MIB), (10 * MIB, 60 * MIB), (32 * MIB, 32 * MIB), (48 * MIB, 48 * MIB))
        events.append(Event(number, chance.randint(*chance.choice(ranges))))
    return tuple(events)


def holds(events, cap, segments="native"):
    try:
        replay(events, cap, segments)
    except SimulatedOutOfMemoryError:
        return False
    return True


def test_peaks_by_hand():
    # 30 MiB, then 12 MiB: 42 MiB held in two segments at event 1. 30 MiB given back; 40 MiB does not fit into it: a
    # third segment, 30 + 12 + 40 = 82 MiB reserved, 52 MiB held at event 3.
    found = replay(trace("+a 30", "+b 12", "-a", "+c 40", "-b", "-c"))
    assert found == Replay(
        peak_allocated=52 * MIB,
        peak_reserved=82 * MIB,
        num_segments=3,
        num_retries=0,
        fragmentation=1 - 52 / 82,
        peak_position=3,
        unproven=False,
    )


def test_under_a_cap_free_segments_are_given_back():
    # The same under 60 MiB: at event 3 the 30 MiB go, and 12 + 40 = 52 MiB are reserved. The peak is that.
    found = replay(trace("+a 30", "+b 12", "-a", "+c 40", "-b", "-c"), 60 * MIB)
    assert (found.peak_reserved, found.num_segments, found.num_retries) == (52 * MIB, 2, 1)
    assert found.fragmentation == 0


def test_the_first_of_equal_peaks_is_named():
    assert replay(trace("+a 12", "-a", "+b 12")).peak_position == 0


def test_nothing_asked_is_nothing_reserved():
    found = replay([])
    assert (found.peak_allocated, found.peak_reserved, found.fragmentation, found.peak_position) == (0, 0, 0.0, -1)
    assert min_memory_limit([]) == 0


def test_expandable_segments_are_marked_unproven():
    assert replay(trace("+a 30"), segments="expandable").unproven
    assert not replay(trace("+a 30")).unproven


def test_a_block_given_back_twice_is_no_trace():
    with pytest.raises(DataError) as caught:
        replay([Event(5, 512), Event(5, 0), Event(5, 0)])
    assert str(caught.value) == "event 2 gives back block 5, which is not held: not a trace."


def test_a_block_taken_twice_is_no_trace():
    with pytest.raises(DataError) as caught:
        min_memory_limit([Event(5, 512), Event(5, 512)])
    assert str(caught.value) == "event 1 takes block 5, which is held already: not a trace."


def test_the_smallest_cap_by_hand():
    # 82 MiB reserved without a cap. 52 MiB are held at once, and are enough: the 30 MiB are given back before.
    assert min_memory_limit(trace("+a 30", "+b 12", "-a", "+c 40", "-b", "-c")) == 52 * MIB


def test_the_smallest_cap_counts_what_cannot_be_given_back():
    # a and b (5 MiB each) share a segment of 20 MiB. When a is free, b keeps the segment: 20 + 40 = 60 MiB, though 45
    # are held.
    assert min_memory_limit(trace("+a 5", "+b 5", "-a", "+c 40")) == 60 * MIB


def test_the_smallest_cap_is_a_multiple_of_2_mib():
    # Small segments are 2 MiB each: three blocks of 1 MiB need two.
    assert min_memory_limit(trace("+a 1", "+b 1", "+c 1")) == 4 * MIB


@pytest.mark.parametrize("segments", ["native", "expandable"])
@pytest.mark.parametrize("seed", range(12))
def test_the_smallest_cap_holds_and_2_mib_less_does_not(seed, segments):
    events = random_trace(seed)
    cap = min_memory_limit(events, segments)
    assert holds(events, cap, segments)
    assert not holds(events, cap - 2 * MIB, segments)
    if segments == "native":  # the peak without a cap always holds, rounded up to 2 MiB
        assert cap < replay(events).peak_reserved + 2 * MIB


def test_a_cap_below_a_failing_one_is_not_given():
    # This trace holds under some cap, fails under a larger one, and holds again: every cap is tried here.
    events = random_trace(NOT_MONOTONIC)
    caps = range(2 * MIB, replay(events).peak_reserved + 2 * MIB, 2 * MIB)
    good = [cap for cap in caps if holds(events, cap)]
    largest_bad = max(cap for cap in caps if not holds(events, cap))
    assert (good[0], largest_bad) == (334 * MIB, 350 * MIB)
    assert min_memory_limit(events) == 352 * MIB


def test_what_a_run_can_do_without_is_left_out_where_it_does_not_fit():
    # a (12 MiB) is held; b (40 MiB) is a workspace; c (20 MiB) comes after it.
    events = trace("+a 12", "+b 40", "-b", "+c 20")
    workspace = {1}
    assert replay(events).peak_reserved == replay(events, dispensable=workspace).peak_reserved == 52 * MIB
    with pytest.raises(SimulatedOutOfMemoryError):
        replay(events, 50 * MIB)
    assert replay(events, 50 * MIB, dispensable=workspace).peak_reserved == 32 * MIB
    assert min_memory_limit(events) == 52 * MIB
    assert min_memory_limit(events, dispensable=workspace) == 32 * MIB


def test_asking_in_vain_gives_free_segments_back_as_a_real_attempt_does():
    # 30 MiB are free when b asks for 60: they go before it is given up, so that c (30 MiB) needs a new segment.
    events = trace("+a 30", "-a", "+b 60", "-b", "+c 30")
    found = replay(events, 40 * MIB, dispensable={events[2].block})
    assert (found.peak_reserved, found.num_retries) == (30 * MIB, 1)


@pytest.mark.parametrize("seed", range(8))
def test_the_smallest_cap_with_dispensable_blocks_holds_and_2_mib_less_does_not(seed):
    events = random_trace(seed)
    dispensable = {number for number, size in events if size and number % 3 == 0}
    cap = min_memory_limit(events, dispensable=dispensable)
    assert cap <= min_memory_limit(events)
    replay(events, cap, dispensable=dispensable)
    with pytest.raises(SimulatedOutOfMemoryError):
        replay(events, cap - 2 * MIB, dispensable=dispensable)


def test_twenty_thousand_events_take_no_time():
    # 0.05 s on the machine it was written on; a scan over all free blocks would take seconds.
    chance = random.Random(1)
    events = [Event(number, chance.randint(1, 3 * MIB)) for number in range(10_000)]
    gone = list(range(10_000))
    chance.shuffle(gone)
    events += [Event(number, 0) for number in gone]
    begin = time.perf_counter()
    replay(events)
    assert time.perf_counter() - begin < 1
