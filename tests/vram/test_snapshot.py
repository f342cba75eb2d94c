"""The simulator against snapshots: of an independent allocator written the dumbest way, by hand, and damaged ones."""

import os
import pickle
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.cli import main
from eightgig.core.errors import DataError
from eightgig.core.units import KIB, MIB
from eightgig.vram.allocator.replay import replay
from eightgig.vram.allocator.snapshot import compare_snapshot, events_of
from eightgig.vram.allocator.snapshot_file import read_snapshot
from eightgig.vram.allocator.snapshot_history import history_of

STATES = {"held": "active_allocated", "pending": "active_pending_free", "free": "inactive"}


class NaiveAllocator:
    """The rules of torch's allocator on plain lists: every search looks at everything, every sum is made anew.

    A segment is a list of cells [size, state, requested]; it writes the trace that torch writes, and its own totals
    after each entry.
    """

    def __init__(self, seed, limit=None):
        self.chance = random.Random(seed)
        self.limit = limit
        self.segments = []
        self.entries = []
        self.totals = [(0, 0, 0)]  # before the first entry: allocated, reserved, segments

    def note(self, action, address, size, segment):
        entry = {"action": action, "addr": address, "size": size, "stream": segment["stream"], "time_us": 1}
        self.entries.append(entry | {"pool_id": segment["pool"], "frames": []})
        cells = [cell for segment in self.segments for cell in segment["cells"]]
        allocated = sum(size for size, state, _ in cells if state == "held")
        reserved = sum(size for size, state, _ in cells if state != "unmapped")
        self.totals.append((allocated, reserved, len(self.segments)))

    def reserved(self):
        return sum(cell[0] for segment in self.segments for cell in segment["cells"] if cell[1] != "unmapped")

    def cells(self):
        """All cells as (segment, index, address)."""
        for segment in self.segments:
            address = segment["address"]
            for index, cell in enumerate(segment["cells"]):
                yield segment, index, address
                address += cell[0]

    def malloc(self, requested, stream=0, pool=(0, 0)):
        size = max(512, -(-requested // 512) * 512)
        place = self.best_fit(size, stream, pool)
        if place is None and not self.add_segment(size, stream, pool):
            for segment in list(self.segments):
                if segment["pool"] == (0, 0) and [cell[1] for cell in segment["cells"]] == ["free"]:
                    self.give_back(segment)
            if not self.add_segment(size, stream, pool):
                self.entries.append({"action": "oom", "device_free": 0, "size": requested, "stream": stream})
                self.totals.append(self.totals[-1])
                return None
        segment, index, address = place or self.best_fit(size, stream, pool)
        rest = segment["cells"][index][0] - size
        if rest >= 512 if segment["small"] else rest > MIB:
            segment["cells"][index : index + 1] = [[size, "held", requested], [rest, "free", 0]]
        else:
            segment["cells"][index][1:] = ["held", requested]
        self.note("alloc", address, requested, segment)
        return address

    def best_fit(self, size, stream, pool):
        fitting = [
            (segment["cells"][index][0], address, segment, index)
            for segment, index, address in self.cells()
            if segment["small"] == (size <= MIB) and segment["stream"] == stream and segment["pool"] == pool
            if segment["cells"][index][1] == "free" and segment["cells"][index][0] >= size
        ]
        if not fitting:
            return None
        _, address, segment, index = min(fitting, key=lambda one: one[:2])
        return segment, index, address

    def add_segment(self, size, stream, pool):
        total = 2 * MIB if size <= MIB else 20 * MIB if size < 10 * MIB else -(-size // (2 * MIB)) * 2 * MIB
        if self.limit is not None and self.reserved() + total > self.limit:
            return False
        taken = [(s["address"], s["address"] + sum(cell[0] for cell in s["cells"])) for s in self.segments]
        while True:  # anywhere, so that addresses do not follow the order of requests, and are used again
            address = 0x7F0000000000 + self.chance.randrange(2000) * 2 * MIB
            if all(address + total <= begin or end <= address for begin, end in taken):
                break
        cells = [[total, "free", 0]]
        segment = {"address": address, "stream": stream, "small": size <= MIB, "pool": pool, "cells": cells}
        self.segments.append(segment)
        self.note("segment_alloc", address, total, segment)
        return True

    def give_back(self, segment):
        self.segments.remove(segment)
        self.note("segment_free", segment["address"], sum(cell[0] for cell in segment["cells"]), segment)

    def find(self, wanted):
        return next((segment, index) for segment, index, address in self.cells() if address == wanted)

    def request_free(self, address):
        segment, index = self.find(address)
        segment["cells"][index][1] = "pending"
        self.note("free_requested", address, segment["cells"][index][2], segment)

    def complete_free(self, address):
        segment, index = self.find(address)
        requested = segment["cells"][index][2]
        segment["cells"][index][1] = "free"
        merged = []
        for cell in segment["cells"]:
            if merged and merged[-1][1] == cell[1] == "free":
                merged[-1][0] += cell[0]
            else:
                merged.append(cell)
        segment["cells"] = merged
        self.note("free_completed", address, requested, segment)

    def empty_cache(self, pool=(0, 0)):
        for segment in list(self.segments):
            if segment["pool"] == pool and [cell[1] for cell in segment["cells"]] == ["free"]:
                self.give_back(segment)

    def snapshot(self, begin=0, max_entries=None, *, with_pools=True):
        """What torch would dump if recording began at entry `begin` with room for `max_entries`; and its peaks."""
        first = max(begin, len(self.entries) - (max_entries or len(self.entries)))
        entries = self.entries[first:]
        if not with_pools:
            entries = [{key: value for key, value in entry.items() if key != "pool_id"} for entry in entries]
        segments = [self.as_dict(segment) for segment in sorted(self.segments, key=lambda one: one["address"])]
        peaks = tuple(max(column) for column in zip(*self.totals[first:], strict=True))
        config = {"PYTORCH_CUDA_ALLOC_CONF": "", "max_split_size": -1, "garbage_collection_threshold": 0.0}
        config["roundup_power2_divisions"] = {str(2**power): 0 for power in range(16)}
        return {"segments": segments, "device_traces": [entries], "allocator_settings": config}, peaks

    def as_dict(self, segment):
        address, blocks = segment["address"], []
        for size, state, requested in segment["cells"]:
            blocks.append({"address": address, "size": size, "requested_size": requested, "state": STATES[state]})
            address += size
        return {
            "device": 0,
            "address": segment["address"],
            "total_size": sum(cell[0] for cell in segment["cells"]),
            "stream": segment["stream"],
            "segment_type": "small" if segment["small"] else "large",
            "segment_pool_id": segment["pool"],
            "is_expandable": False,
            "frames": [],
            "blocks": blocks,
        }


def any_size(chance):
    return chance.choice(
        [
            chance.randint(1, 4096),
            chance.randint(1, MIB),
            chance.randint(MIB, 11 * MIB),
            chance.randint(10 * MIB, 40 * MIB),
            *(512, MIB, 10 * MIB, 19 * MIB, 24 * MIB),
        ]
    )


def play(seed, *, num_steps=150, limit=None, streams=(0,), pools=((0, 0),)):
    """Let the naive allocator live through a random life."""
    naive = NaiveAllocator(seed, limit)
    chance, held, pending = naive.chance, [], []
    for _ in range(num_steps):
        step = chance.random()
        if step < 0.02:
            naive.empty_cache()
        elif pending and step < 0.2:
            naive.complete_free(pending.pop(chance.randrange(len(pending))))
        elif held and step < 0.5:
            address = held.pop(chance.randrange(len(held)))
            naive.request_free(address)
            if len(streams) > 1 and chance.random() < 0.3:  # another stream still uses it
                pending.append(address)
            else:
                naive.complete_free(address)
        else:
            address = naive.malloc(any_size(chance), chance.choice(streams), chance.choice(pools))
            held += [] if address is None else [address]
    return naive


def written(tmp_path, content, protocol=pickle.DEFAULT_PROTOCOL):
    path = tmp_path / "snapshot.pickle"
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def check_exact(path, peaks):
    found = compare_snapshot(path)
    assert found.first_difference is None
    assert found.exact
    assert (found.measured_peak_allocated, found.measured_peak_reserved, found.measured_segments) == peaks
    assert (found.simulated_peak_allocated, found.simulated_peak_reserved, found.simulated_segments) == peaks


SEEDS = st.integers(0, 2**32)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, limit_mib=st.sampled_from([None, 60, 120]))
def test_whole_lives_are_followed_exactly(tmp_path_factory, seed, limit_mib):
    naive = play(seed, limit=limit_mib and limit_mib * MIB)
    content, peaks = naive.snapshot()
    check_exact(written(tmp_path_factory.mktemp("whole"), content), peaks)


def test_the_end_of_a_block_shows_when_the_block_behind_it_is_freed_first(tmp_path):
    # Of a segment of 20 MiB, 0 to 5 becomes free, and 4.5 MiB take it: 0.5 MiB is too little to split off. 5 to 10 is
    # freed next and joins what is free behind it, so when the 4.5 MiB are freed, nothing beside them tells their size.
    naive = NaiveAllocator(1)
    first, second = naive.malloc(5 * MIB), naive.malloc(5 * MIB)
    naive.request_free(first)
    naive.complete_free(first)
    begin = len(naive.entries)
    first = naive.malloc(4 * MIB + 512 * KIB)
    for address in (second, first):
        naive.request_free(address)
        naive.complete_free(address)
    content, peaks = naive.snapshot(begin=begin)
    assert peaks == (10 * MIB, 20 * MIB, 1)
    check_exact(written(tmp_path, content), peaks)


# Derandomized: about one such life in 10,000 leaves the end of a block unknown (see snapshot_history), by up to 1 MiB.
@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=SEEDS, begin=st.integers(0, 300), limit_mib=st.sampled_from([None, 100]))
def test_recordings_that_begin_later_are_followed_exactly(tmp_path_factory, seed, begin, limit_mib):
    # torch drops entries one by one, so the trace may begin between a new segment and the block in it, or in a retry.
    naive = play(seed, limit=limit_mib and limit_mib * MIB, streams=(0, 0x55D0))
    content, peaks = naive.snapshot(begin=min(begin, len(naive.entries) - 1))
    check_exact(written(tmp_path_factory.mktemp("later"), content), peaks)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=SEEDS, max_entries=st.integers(1, 100))
def test_full_buffers_streams_and_private_pools_are_followed_exactly(tmp_path_factory, seed, max_entries):
    naive = play(seed, limit=150 * MIB, streams=(0, -7), pools=((0, 0), (0, 3), (1, 0)))
    content, peaks = naive.snapshot(max_entries=max_entries)
    check_exact(written(tmp_path_factory.mktemp("full"), content, protocol=2), peaks)


def test_traces_before_torch_2_9_have_no_pools(tmp_path):
    # Their pools are known by the segments that are left. Without a cap and without empty_cache none is lost.
    naive = NaiveAllocator(5)
    blocks = [naive.malloc(size * MIB, pool=pool) for size in (3, 12) for pool in ((0, 0), (0, 1))]
    for address in blocks:
        naive.request_free(address)
        naive.complete_free(address)
    naive.malloc(12 * MIB, pool=(0, 1))
    content, peaks = naive.snapshot(with_pools=False)
    check_exact(written(tmp_path, content), peaks)


def test_the_life_of_a_trace_is_as_long_as_the_naive_allocator_says(tmp_path):
    # events_of gives a trace that `replay` understands; with addresses in the order of requests it may differ in ties,
    # never in what is allocated of blocks that are split exactly: here all small.
    naive = NaiveAllocator(3)
    first = [naive.malloc(100 * KIB) for _ in range(30)]
    for address in first[::2]:
        naive.request_free(address)
        naive.complete_free(address)
    naive.malloc(300 * KIB)
    content, peaks = naive.snapshot(begin=20)
    events = events_of(history_of(read_snapshot(written(tmp_path, content)), 0))
    found = replay(events)
    assert (found.peak_allocated, found.peak_reserved) == peaks[:2]
    assert sum(event.num_bytes > 0 for event in events) - sum(event.num_bytes == 0 for event in events) == 16


def test_a_pending_block_counts_as_reserved_not_as_allocated(tmp_path):
    # 12 MiB are given back but still used: 12 + 14 MiB reserved, 14 allocated in the end, 12 before; the peak is 14.
    naive = NaiveAllocator(1)
    naive.request_free(naive.malloc(12 * MIB))
    naive.malloc(14 * MIB)
    content, _ = naive.snapshot(begin=3)  # only the new segment and its block were recorded
    found = compare_snapshot(written(tmp_path, content))
    assert found.exact
    assert (found.simulated_peak_allocated, found.simulated_peak_reserved) == (14 * MIB, 26 * MIB)


def test_what_was_never_split_off_is_found_again_when_a_free_is_undone(tmp_path):
    # 19 MiB hold all 20 MiB of their segment; given back before the snapshot, only the request (19 MiB) is on record.
    naive = NaiveAllocator(1)
    address = naive.malloc(19 * MIB)
    naive.request_free(address)
    naive.complete_free(address)
    content, _ = naive.snapshot(begin=2)
    found = compare_snapshot(written(tmp_path, content))
    assert found.measured_peak_allocated == found.simulated_peak_allocated == 20 * MIB


def disobedient():
    """Puts 30 MiB into a segment of its own, though 30 MiB are free: not torch's rule. It is entry 5."""
    naive = NaiveAllocator(2)
    address = naive.malloc(30 * MIB)
    naive.request_free(address)
    naive.complete_free(address)
    naive.add_segment(30 * MIB, 0, (0, 0))
    naive.segments[1]["cells"][0][1:] = ["held", 30 * MIB]
    naive.note("alloc", naive.segments[1]["address"], 30 * MIB, naive.segments[1])
    return naive.snapshot()[0]


def test_a_difference_is_found_and_named(tmp_path):
    path = written(tmp_path, disobedient())
    found = compare_snapshot(path)
    assert (found.exact, found.first_difference) == (False, 5)
    assert (found.measured_peak_reserved, found.simulated_peak_reserved) == (60 * MIB, 30 * MIB)
    assert found.sentence() == (
        "snapshot.pickle: differs, first at entry 5; device 0, 6 actions; measured and simulated: "
        "allocated 30.0 MiB and 30.0 MiB, reserved 60.0 MiB and 30.0 MiB, segments 2 and 1"
    )


def test_segments_that_should_not_be_given_back_are_a_difference(tmp_path):
    # Two segments are free; torch gives back both.
    naive = NaiveAllocator(2)
    for address in [naive.malloc(30 * MIB), naive.malloc(40 * MIB)]:
        naive.request_free(address)
        naive.complete_free(address)
    naive.give_back(naive.segments[0])
    found = compare_snapshot(written(tmp_path, naive.snapshot()[0]))
    assert (found.exact, found.first_difference) == (False, 8)


def with_settings(content, **changes):
    return content | {"allocator_settings": content["allocator_settings"] | changes}


@pytest.mark.parametrize("variable", ["PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"])  # until torch 2.9, and since
def test_settings_are_read(tmp_path, variable):
    # 1200 KiB are rounded to 1280 KiB with four divisions; segments of 64 MiB.
    text = "roundup_power2_divisions:4,large_segment_size_mb:64"
    divisions = {str(2**power): 4 for power in range(16)}
    address = 1 << 40
    entry = {"stream": 0, "time_us": 0, "frames": []}
    blocks = [
        {"address": address, "size": 1280 * KIB, "requested_size": 1200 * KIB, "state": "active_allocated"},
        {"address": address + 1280 * KIB, "size": 64 * MIB - 1280 * KIB, "requested_size": 0, "state": "inactive"},
    ]
    segment = {"device": 0, "address": address, "total_size": 64 * MIB, "stream": 0, "segment_type": "large"}
    trace = [
        entry | {"action": "segment_alloc", "addr": address, "size": 64 * MIB},
        entry | {"action": "alloc", "addr": address, "size": 1200 * KIB},
        {"action": "snapshot", "addr": 0, "size": 1280 * KIB, "stream": 0},
    ]
    config = {variable: text, "roundup_power2_divisions": divisions}
    content = {"segments": [segment | {"blocks": blocks}], "device_traces": [trace], "allocator_settings": config}
    check_exact(written(tmp_path, content), (1280 * KIB, 64 * MIB, 1))


def test_with_max_split_size_the_choice_of_segments_is_taken_from_the_trace(tmp_path):
    naive = NaiveAllocator(2)
    for address in [naive.malloc(70 * MIB), naive.malloc(80 * MIB)]:
        naive.request_free(address)
        naive.complete_free(address)
    naive.give_back(naive.segments[1])
    content, peaks = naive.snapshot()
    path = written(tmp_path, with_settings(content, max_split_size=64 * MIB))
    check_exact(path, peaks)
    assert compare_snapshot(path).notes == ("max_split_size is set: which segments are given back is not simulated",)


# Expandable segments: handled, marked as unproven. A naive one: a range of addresses, cells free, held or unmapped.


class NaiveExpandable(NaiveAllocator):
    """Page by page; a block goes where the lowest addresses have room."""

    def malloc(self, requested, stream=0, pool=(0, 0)):
        size = max(512, -(-requested // 512) * 512)
        place = self.best_fit(size, stream, pool) or self.grow(size, stream, pool)
        segment, index, address = place
        rest = segment["cells"][index][0] - size
        segment["cells"][index : index + 1] = [[size, "held", requested], *([[rest, "free", 0]] if rest else [])]
        self.note("alloc", address, requested, segment)
        return address

    def best_fit(self, size, stream, pool):
        fitting = []
        for segment, index, address in self.cells():
            here, *behind = segment["cells"][index : index + 2]
            of_pool = (segment["small"], segment["stream"], segment["pool"]) == (size <= MIB, stream, pool)
            if of_pool and here[1] == "free" and here[0] >= size:
                room = sum(cell[0] for cell in behind if cell[1] == "unmapped")
                fitting.append((here[0], address, here[0] + room, segment, index))
        fitting.sort(key=lambda one: one[:2])
        while len(fitting) > 1 and fitting[1][2] < fitting[0][2]:
            del fitting[0]
        return (fitting[0][3], fitting[0][4], fitting[0][1]) if fitting else None

    def grow(self, size, stream, pool):
        small = size <= MIB
        page = 2 * MIB if small else 20 * MIB
        segment = next(
            (s for s in self.segments if (s["small"], s["stream"], s["pool"]) == (small, stream, pool)), None
        )
        if segment is None:
            address = 0x7F0000000000 + len(self.segments) * 2**44
            cells = [[2**40 // page * page, "unmapped", 0]]
            segment = {"address": address, "stream": stream, "small": small, "pool": pool, "cells": cells}
            self.segments.append(segment)
        cells, index = segment["cells"], 0
        while True:  # the lowest run of free and unmapped cells that begins with, or just before, an unmapped one
            run = index
            while run < len(cells) and cells[run][1] != "held" and sum(cell[0] for cell in cells[index:run]) < size:
                run += 1
            kinds = [cell[1] for cell in cells[index : index + 2]]
            if sum(cell[0] for cell in cells[index:run]) >= size and "unmapped" in kinds and "held" not in kinds[:1]:
                break
            index += 1
        start = sum(cell[0] for cell in cells[:index])
        while cells[index][1] == "unmapped" or cells[index][0] < size:
            at = index if cells[index][1] == "unmapped" else index + 1
            have = 0 if at == index else cells[index][0]
            pages = min(-(-(size - have) // page) * page, cells[at][0])
            cells[at][0] -= pages
            cells.insert(at, [pages, "free", 0])
            where = segment["address"] + sum(cell[0] for cell in cells[:at])
            segment["cells"][:] = cells = self.merged(cells)
            self.note("segment_map", where, pages, segment)
        return segment, index, segment["address"] + start

    def merged(self, cells):
        found = []
        for cell in (cell for cell in cells if cell[0]):
            if found and found[-1][1] == cell[1] and cell[1] in ("free", "unmapped"):
                found[-1][0] += cell[0]
            else:
                found.append(cell)
        return found

    def empty_cache(self, pool=(0, 0)):
        for segment in self.segments:
            page = 2 * MIB if segment["small"] else 20 * MIB
            position, cells = 0, []
            for size, state, requested in segment["cells"]:
                begin, end = -(-position // page) * page, (position + size) // page * page
                if state == "free" and begin < end:
                    cells += [[begin - position, "free", 0], [end - begin, "unmapping", 0]]
                    cells += [[position + size - end, "free", 0]]
                else:
                    cells.append([size, state, requested])
                position += size
            segment["cells"] = [cell for cell in cells if cell[0]]
            self.unmap_all(segment)

    def unmap_all(self, segment):
        position = segment["address"]
        for cell in segment["cells"]:
            if cell[1] == "unmapping":
                cell[1] = "unmapped"
                self.note("segment_unmap", position, cell[0], segment)
            position += cell[0]
        segment["cells"] = self.merged(segment["cells"])

    def as_dict(self, segment):
        raise NotImplementedError

    def snapshot(self, begin=0, max_entries=None, *, with_pools=True):
        ranges = []
        for segment in self.segments:
            address, joined = segment["address"], False
            for cell in segment["cells"]:
                if cell[1] == "unmapped":
                    joined = False
                elif joined:
                    ranges[-1]["cells"].append(cell)
                else:
                    ranges.append(segment | {"address": address, "cells": [cell]})
                    joined = True
                address += cell[0]
        native = NaiveAllocator(0)
        native.segments, native.entries, native.totals = ranges, self.entries, self.totals
        content, peaks = native.snapshot(begin, max_entries, with_pools=with_pools)
        for segment in content["segments"]:
            segment["is_expandable"] = True
        return content, peaks


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, begin=st.integers(0, 200))
def test_expandable_lives_are_followed(tmp_path_factory, seed, begin):
    naive = NaiveExpandable(seed)
    chance, held = naive.chance, []
    for _ in range(120):
        step = chance.random()
        if step < 0.04:
            naive.empty_cache()
        elif held and step < 0.5:
            address = held.pop(chance.randrange(len(held)))
            naive.request_free(address)
            naive.complete_free(address)
        else:
            held.append(naive.malloc(any_size(chance), chance.choice([0, 5])))
    content, peaks = naive.snapshot(begin=0)
    found = compare_snapshot(written(tmp_path_factory.mktemp("expandable"), content))
    assert (found.exact, found.first_difference, found.unproven) == (True, None, True)
    assert (found.simulated_peak_allocated, found.simulated_peak_reserved) == peaks[:2]
    assert found.sentence().endswith("(expandable segments: unproven)")
    later = compare_snapshot(
        written(tmp_path_factory.mktemp("later"), naive.snapshot(begin=min(begin, len(naive.entries)))[0])
    )
    assert later.unproven
    assert later.measured_peak_reserved <= peaks[1]


def test_an_expandable_segment_with_a_gap_is_taken_up_where_recording_begins(tmp_path):
    # Three pages of 20 MiB; the middle one is unmapped before the recording begins, and mapped again in it.
    naive = NaiveExpandable(1)
    _, middle, _ = (naive.malloc(20 * MIB) for _ in range(3))
    naive.request_free(middle)
    naive.complete_free(middle)
    naive.empty_cache()
    begin = len(naive.entries)
    naive.malloc(20 * MIB)
    content, peaks = naive.snapshot(begin=begin)
    assert peaks[:2] == (60 * MIB, 60 * MIB)
    found = compare_snapshot(written(tmp_path, content))
    assert (found.exact, found.num_entries) == (True, 2)
    assert (found.simulated_peak_allocated, found.simulated_peak_reserved) == peaks[:2]


def test_ten_small_pages_at_once_are_not_taken_for_a_large_one(tmp_path):
    # Both are 20 MiB. What is near tells them apart: the small page behind them, not the large one far below.
    naive = NaiveExpandable(1)
    naive.malloc(2 * MIB)
    small = [naive.malloc(MIB) for _ in range(21)]
    for address in small[:20]:
        naive.request_free(address)
        naive.complete_free(address)
    begin = len(naive.entries)
    naive.empty_cache()
    naive.malloc(MIB)  # fills the page behind them
    assert naive.malloc(MIB) == small[0]
    content, peaks = naive.snapshot(begin=begin)
    assert peaks[:2] == (5 * MIB, 42 * MIB)
    found = compare_snapshot(written(tmp_path, content))
    assert (found.exact, found.first_difference) == (True, None)


# Files that are not what they should be.


class Rogue:
    """Something that would run code when it is unpickled."""

    def __reduce__(self):
        return os.system, ("echo run",)


def test_a_file_that_refers_to_code_is_refused_and_nothing_runs(tmp_path, capfd):
    path = written(tmp_path, {"segments": [], "device_traces": [], "more": Rogue()})
    with pytest.raises(DataError) as caught:
        compare_snapshot(path)
    assert str(caught.value) == (
        f"snapshot.pickle: it refers to code ({os.system.__module__}.system); a snapshot holds plain data only. "
        "It was not run."
    )
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("content", [{1, 2}, (1, 2, 3), ("a", "b"), b"bytes", 1 + 2j, bytearray(3)])
def test_other_objects_are_refused(tmp_path, content):
    with pytest.raises(DataError, match=r"snapshot\.pickle: "):
        compare_snapshot(written(tmp_path, content))


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(DataError) as caught:
        compare_snapshot(tmp_path / "none.pickle")
    assert str(caught.value) == (
        f"{tmp_path / 'none.pickle'}: cannot be read (No such file or directory). Give a file of _dump_snapshot."
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not a pickle",
        pickle.dumps({"segments": []})[:-3],
        b"\x80\x02}r\xff\xff\xff\x7fX\xff\xff\xff\x7f",  # a memo of 2 GiB, and as long a string
    ],
    ids=["empty", "text", "cut", "huge"],
)
def test_a_damaged_file_says_so(tmp_path, raw):
    path = tmp_path / "snapshot.pickle"
    path.write_bytes(raw)
    with pytest.raises(DataError) as caught:
        compare_snapshot(path)
    assert re.fullmatch(
        r"snapshot\.pickle: not a snapshot, or damaged \((EOF|Unpickling)Error\)\. Wanted is a file that "
        r"torch\.cuda\.memory\._dump_snapshot wrote\.",
        str(caught.value),
    )


@pytest.mark.parametrize(("there", "missing"), [("segments", "device_traces"), ("device_traces", "segments")])
def test_a_pickle_of_something_else_says_what_is_missing(tmp_path, there, missing):
    with pytest.raises(DataError) as caught:
        compare_snapshot(written(tmp_path, {there: []}))
    assert str(caught.value) == (
        f"snapshot.pickle: has no list '{missing}'; this is no snapshot of _dump_snapshot, or it is damaged."
    )


def test_a_snapshot_of_a_run_without_a_gpu_has_no_device(tmp_path):
    with pytest.raises(DataError) as caught:
        compare_snapshot(written(tmp_path, {"segments": [], "device_traces": []}))
    assert str(caught.value) == (
        "snapshot.pickle: holds no device at all. Record on a GPU: torch.cuda.memory._record_memory_history()."
    )


def test_a_trace_that_contradicts_the_segments_says_where(tmp_path):
    content, _ = play(4, num_steps=20).snapshot()
    trace = content["device_traces"][0]
    del trace[next(index for index, entry in enumerate(trace) if entry["action"] == "free_completed")]
    with pytest.raises(DataError) as caught:
        compare_snapshot(written(tmp_path, content))
    assert str(caught.value).startswith("snapshot.pickle, device 0: entry ")
    assert "contradicts what follows" in str(caught.value)
    assert str(caught.value).endswith("Was the trace cut in the middle, recorded with skip_actions, or changed?")


@pytest.mark.parametrize(
    ("entries", "position", "why"),
    [
        ([("segment_alloc", 0, 20), ("alloc", 0, 4)], 1, "the block is smaller than what was asked for"),
        ([("alloc", 4, 1)], 0, "the block is not held so"),
        ([("free_requested", 0, 3)], 0, "the block is not held so"),
        ([("free_completed", 0, 3)], 0, "the block is held again, or still"),
        ([("free_completed", 3, 18)], 0, "the block reaches into the next one"),
        ([("segment_alloc", 0, 40), ("alloc", 0, 3)], 0, "the segment has another size"),
        ([("segment_alloc", 0, 20)], 0, "a block is held in the segment before there was one"),
        ([("segment_free", 0, 20)], 0, "it overlaps another segment"),
        ([("segment_free", 10, 20)], 0, "it overlaps another segment"),
        ([("alloc", 20, 1)], 0, "there is no segment at this address"),
    ],
)
def test_each_contradiction_is_called_by_its_name(tmp_path, entries, position, why):
    # In the end there is one segment of 20 MiB with one block, of 3 MiB, at its beginning. Sizes in MiB.
    base = 1 << 40
    blocks = [{"size": 3 * MIB, "state": "active_allocated"}, {"size": 17 * MIB, "state": "inactive"}]
    segment = {"device": 0, "address": base, "total_size": 20 * MIB, "stream": 0, "segment_type": "large"}
    trace = [
        {"action": action, "addr": base + offset * MIB, "size": size * MIB, "stream": 0}
        for action, offset, size in entries
    ]
    content = {"segments": [segment | {"blocks": blocks}], "device_traces": [trace]}
    with pytest.raises(DataError) as caught:
        compare_snapshot(written(tmp_path, content))
    action, offset, _ = entries[position]
    assert str(caught.value) == (
        f"snapshot.pickle, device 0: entry {position} ({action} at {base + offset * MIB:#x}) contradicts what follows: "
        f"{why}. Was the trace cut in the middle, recorded with skip_actions, or changed?"
    )


def test_mixed_kinds_of_segments_are_refused(tmp_path):
    content, _ = play(4, num_steps=20).snapshot()
    content["segments"][0]["is_expandable"] = True
    with pytest.raises(DataError) as caught:
        compare_snapshot(written(tmp_path, content))
    assert str(caught.value) == (
        "snapshot.pickle, device 0: native and expandable segments are mixed in one snapshot, which is not simulated. "
        "Record it with expandable_segments set before CUDA is used, and not changed after."
    )


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2), changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_give_a_result_or_a_data_error(tmp_path_factory, seed, changes):
    raw = bytearray(FUZZED[seed % len(FUZZED)])
    for position, value in changes:
        raw[position % len(raw)] = value
    damaged = tmp_path_factory.getbasetemp() / "damaged.pickle"
    damaged.write_bytes(raw)
    try:
        compare_snapshot(damaged)
    except DataError as error:
        assert str(error).startswith("damaged.pickle")


def _fuzzed():
    native = play(9, num_steps=25, limit=100 * MIB, streams=(0, 3)).snapshot()[0]
    expandable = NaiveExpandable(9)
    for size in (300 * KIB, 5 * MIB, 30 * MIB, 12 * MIB):
        address = expandable.malloc(size)
        if size > 20 * MIB:
            expandable.request_free(address)
            expandable.complete_free(address)
            expandable.empty_cache()
    return [pickle.dumps(native), pickle.dumps(native, 2), pickle.dumps(expandable.snapshot()[0])]


FUZZED = _fuzzed()


# The command.


def test_the_command_prints_a_line_a_file_and_exits_with_1_where_one_differs(tmp_path, capsys):
    good, bad = tmp_path / "good.pickle", tmp_path / "bad.pickle"
    good.write_bytes(pickle.dumps(play(1, num_steps=30).snapshot()[0]))
    bad.write_bytes(pickle.dumps(disobedient()))
    assert main(["snapshot", str(good)]) == 0
    assert main(["snapshot", str(bad), str(good)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(";")[0] for line in lines] == [
        "good.pickle: exact",
        "bad.pickle: differs, first at entry 5",
        "good.pickle: exact",
    ]


def test_the_command_goes_on_where_a_file_cannot_be_used(tmp_path, capsys):
    good = written(tmp_path, play(1, num_steps=30).snapshot()[0])
    assert main(["snapshot", str(tmp_path / "none.pickle"), str(good)]) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith("snapshot.pickle: exact; device 0, ")
    assert "none.pickle: cannot be read" in captured.err


def test_the_device_can_be_chosen(tmp_path):
    content = play(1, num_steps=30).snapshot()[0]
    other = play(2, num_steps=10).snapshot()[0]
    both = content | {
        "segments": content["segments"] + [segment | {"device": 1} for segment in other["segments"]],
        "device_traces": [content["device_traces"][0], other["device_traces"][0]],
    }
    path = written(tmp_path, both)
    assert (compare_snapshot(path).device, compare_snapshot(path).exact) == (0, True)  # the longest trace
    assert (compare_snapshot(path, 1).num_entries, compare_snapshot(path, 1).exact) == (
        len(other["device_traces"][0]),
        True,
    )


@pytest.mark.parametrize("device", [1, 3, -1])
def test_a_device_that_is_not_there_is_refused(device, tmp_path, capsys):
    path = written(tmp_path, play(1, num_steps=30).snapshot()[0])
    assert main(["snapshot", "--device", str(device), str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"snapshot.pickle: holds no device {device}; wanted one of 0 (--device)." in captured.err


def test_a_snapshot_without_actions_is_not_called_exact(tmp_path, capsys):
    content = play(1, num_steps=30).snapshot()[0]
    path = written(tmp_path, content | {"device_traces": [[]]})
    assert main(["snapshot", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "snapshot.pickle, device 0: holds no actions, so that there is nothing to compare." in captured.err


def test_an_action_that_is_not_known_is_not_left_out(tmp_path, capsys):
    content = play(1, num_steps=30).snapshot()[0]
    content["device_traces"][0][4] |= {"action": "segment_moved"}
    assert main(["snapshot", str(written(tmp_path, content))]) == 2
    assert "entry 4: the action 'segment_moved' is not known; wanted one of alloc," in capsys.readouterr().err
