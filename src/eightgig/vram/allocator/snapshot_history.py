"""From a snapshot back to the moment its trace begins: what was held then, and what was held at most since.

A snapshot says how memory looked when it was taken, and what happened before. Undone from the last action to the
first, the trace gives the state at its beginning, also where recording began in the middle of a run or its buffer was
full. One thing may stay unknown: up to 1 MiB at the end of a block that was held before the first action and given back
after it, with a free block behind it; it is then counted as free.
"""

from dataclasses import dataclass
from typing import NamedTuple

from eightgig.vram.allocator.blocks import AllocatorOptions
from eightgig.vram.allocator.snapshot_file import Releases, Snapshot, TraceEntry
from eightgig.vram.allocator.snapshot_undo import HeldBlock, Segment, Undo


class Totals(NamedTuple):
    """What was reserved right after an action."""

    reserved: int
    num_segments: int


@dataclass(frozen=True)
class History:
    """A trace with its beginning, as the snapshot itself tells it; nothing in it is simulated.

    Attributes:
        entries: of the trace, with the pool of each action.
        totals: after each entry.
        segments, held: at the beginning; held blocks by address.
        peak_allocated, peak_reserved, peak_segments: at most, from the beginning to the snapshot.
        is_expandable: whether the segments are expandable; then `peak_segments` counts ranges of pages.
        options: the allocator's settings.
        releases: see `Snapshot`.
    """

    entries: tuple[TraceEntry, ...]
    totals: tuple[Totals, ...]
    segments: tuple[Segment, ...]
    held: dict[int, HeldBlock]
    peak_allocated: int
    peak_reserved: int
    peak_segments: int
    is_expandable: bool
    options: AllocatorOptions
    releases: Releases


def history_of(snapshot: Snapshot, device: int) -> History:
    """Return the history of one device.

    Raises:
        DataError: the trace and the segments contradict each other, or native and expandable segments are mixed.
    """
    trace = snapshot.traces[device] if device < len(snapshot.traces) else ()
    segments = snapshot.segments.get(device, ())
    undo = Undo(segments, trace, snapshot.options)
    entries, totals, blocks = [], [Totals(undo.reserved, len(undo.segments))], []
    for entry in reversed(trace):
        pool_id, block = undo.step_back(entry)
        entries.append(entry._replace(pool_id=pool_id))
        blocks.append(block)
        totals.append(Totals(undo.reserved, len(undo.segments)))
    entries.reverse()
    blocks.reverse()
    totals.reverse()
    return History(
        entries=tuple(entries),
        totals=tuple(totals[1:]),
        segments=tuple(undo.segments[address] for address in undo.starts),
        held=undo.held,
        peak_allocated=_peak_allocated(undo.held, entries, blocks),
        peak_reserved=max(total.reserved for total in totals),
        peak_segments=max(total.num_segments for total in totals),
        is_expandable=undo.is_expandable,
        options=snapshot.options,
        releases=snapshot.releases,
    )


def _peak_allocated(held: dict[int, HeldBlock], entries: list[TraceEntry], blocks: list[HeldBlock | None]) -> int:
    """Add up forwards, as all sizes are known only when all is undone."""
    peak = allocated = sum(block.num_bytes for block in held.values() if block.is_allocated)
    for entry, block in zip(entries, blocks, strict=True):
        if block is not None and entry.action == "alloc":
            allocated += block.num_bytes
        elif block is not None and entry.action == "free_requested":
            allocated -= block.num_bytes
        peak = max(peak, allocated)
    return peak
