"""Holds the allocator's simulator against a snapshot of a real GPU, action by action: `eightgig snapshot FILE...`.

A snapshot is what torch.cuda.memory._dump_snapshot writes after torch.cuda.memory._record_memory_history.
"""

from pathlib import Path

from eightgig.core.errors import DataError
from eightgig.core.records import Record
from eightgig.core.units import format_bytes
from eightgig.vram.allocator.events import Event
from eightgig.vram.allocator.snapshot_file import Snapshot, read_snapshot
from eightgig.vram.allocator.snapshot_follower import Follower
from eightgig.vram.allocator.snapshot_history import History, history_of


class SnapshotComparison(Record):
    """A snapshot beside a simulation of the same requests.

    Measured is what the snapshot says of the recorded time, which may begin in the middle of a run. The simulator is
    told the requests, the addresses of new segments, and when segments were given back. It decides which block serves
    a request, when a new segment is made and of what size, what is split and merged, which segments are given back.

    Attributes:
        num_entries: actions compared.
        measured_segments, simulated_segments: the most held at once; not compared where the snapshot is `unproven`.
        first_difference: index in the trace of the first action that differs: a request that got another address or
            left another total reserved, or other segments given back; None where all are alike.
        exact: whether there is none, and all figures are alike.
        unproven: whether the segments are expandable.
        notes: what is not simulated, for a person.
    """

    file: str
    device: int
    num_entries: int
    measured_peak_allocated: int
    simulated_peak_allocated: int
    measured_peak_reserved: int
    simulated_peak_reserved: int
    measured_segments: int
    simulated_segments: int
    first_difference: int | None
    exact: bool
    unproven: bool
    notes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """Say the result in one line."""
        where = "in its peaks" if self.first_difference is None else f"first at entry {self.first_difference}"
        diagnosis = "exact" if self.exact else f"differs, {where}"
        remarks = [*self.notes, "expandable segments: unproven"] if self.unproven else self.notes
        allocated = (format_bytes(self.measured_peak_allocated), format_bytes(self.simulated_peak_allocated))
        reserved = (format_bytes(self.measured_peak_reserved), format_bytes(self.simulated_peak_reserved))
        return (
            f"{self.file}: {diagnosis}; device {self.device}, {self.num_entries} actions; measured and simulated: "
            f"allocated {' and '.join(allocated)}, reserved {' and '.join(reserved)}, "
            f"segments {self.measured_segments} and {self.simulated_segments}"
            f"{''.join(f' ({remark})' for remark in remarks)}"
        )


def compare_snapshot(path: Path, device: int | None = None) -> SnapshotComparison:
    """Hold the simulator against one device of a snapshot file (None: the one with the longest trace).

    Raises:
        DataError: the file cannot be used; the message says why.
    """
    snapshot = read_snapshot(path)
    devices = _devices(snapshot, path.name)
    chosen = _busiest(snapshot, devices) if device is None else device
    if chosen not in devices:
        there = ", ".join(map(str, devices))
        raise DataError(f"{path.name}: holds no device {chosen}; wanted one of {there} (--device).")
    if not _length(snapshot, chosen):
        raise DataError(
            f"{path.name}, device {chosen}: holds no actions, so that there is nothing to compare. Record while the "
            "network trains: torch.cuda.memory._record_memory_history(), then _dump_snapshot."
        )
    try:
        history = history_of(snapshot, chosen)
    except DataError as error:
        raise DataError(f"{path.name}, device {chosen}: {error}") from error
    follower = Follower(history)
    follower.follow()
    return _comparison(path.name, chosen, history, follower, snapshot.notes)


def events_of(history: History) -> tuple[Event, ...]:
    """Return a history as a trace for `replay`: what was held at its beginning, then each request.

    A block can be used again when its free is completed, not when it is requested.
    """
    numbers = {address: number for number, address in enumerate(sorted(history.held))}
    events = [Event(number, history.held[address].num_bytes) for address, number in numbers.items()]
    made = len(numbers)
    for entry in history.entries:
        if entry.action == "alloc":
            numbers[entry.address] = made
            events.append(Event(made, entry.num_bytes))
            made += 1
        elif entry.action == "free_completed":
            events.append(Event(numbers.pop(entry.address), 0))
    return tuple(events)


def _devices(snapshot: Snapshot, name: str) -> list[int]:
    devices = sorted({*range(len(snapshot.traces)), *snapshot.segments})
    if not devices:
        raise DataError(f"{name}: holds no device at all. Record on a GPU: torch.cuda.memory._record_memory_history().")
    return devices


def _busiest(snapshot: Snapshot, devices: list[int]) -> int:
    """Return the device with the longest trace; of equal ones the one with most segments, then the first."""
    return max(devices, key=lambda device: (_length(snapshot, device), len(snapshot.segments.get(device, ()))))


def _length(snapshot: Snapshot, device: int) -> int:
    return len(snapshot.traces[device]) if device < len(snapshot.traces) else 0


def _comparison(
    name: str, device: int, history: History, follower: Follower, notes: tuple[str, ...]
) -> SnapshotComparison:
    allocator, first = follower.allocator, follower.first_difference
    measured = (history.peak_allocated, history.peak_reserved, history.peak_segments)
    simulated = (allocator.peak_allocated, allocator.peak_reserved, allocator.peak_segments)
    compared = 2 if history.is_expandable else 3
    return SnapshotComparison(
        file=name,
        device=device,
        num_entries=len(history.entries),
        measured_peak_allocated=measured[0],
        simulated_peak_allocated=simulated[0],
        measured_peak_reserved=measured[1],
        simulated_peak_reserved=simulated[1],
        measured_segments=measured[2],
        simulated_segments=simulated[2],
        first_difference=first,
        exact=first is None and measured[:compared] == simulated[:compared],
        unproven=history.is_expandable,
        notes=notes,
    )
