"""What torch's allocator on the card says of a run: peaks, and a snapshot to hold the simulator against."""

import gc
import lzma
import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch

from eightgig.core.errors import EightgigError
from eightgig.core.files import write_bytes
from eightgig.vram.allocator.snapshot import SnapshotComparison, compare_snapshot

MOST_ENTRIES = 400_000
MOST_SNAPSHOT_BYTES = 300_000
# What eightgig.vram.allocator.snapshot reads; times and stacks are several times as large.
_SEGMENT_FIELDS = ("device", "address", "total_size", "stream", "segment_type", "segment_pool_id", "is_expandable")
_ENTRY_FIELDS = ("action", "addr", "size", "stream", "pool_id")


class CudaMeter:
    """Torch's allocator on the card."""

    def __init__(self) -> None:
        self._retries = 0

    def prepare(self, cap_bytes: int | None) -> None:
        """Release all, set the cap and start new peaks."""
        gc.collect()
        clear_workspaces = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
        if clear_workspaces is not None:
            clear_workspaces()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        share = 1.0 if cap_bytes is None else cap_bytes / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(share)
        torch.cuda.reset_peak_memory_stats()
        self._retries = torch.cuda.memory_stats().get("num_alloc_retries", 0)

    def start_history(self) -> None:
        """Record what the allocator does, without stacks."""
        torch.cuda.memory._record_memory_history(enabled="all", context=None, max_entries=MOST_ENTRIES)

    def stop_history(self) -> dict[str, Any]:
        """Return what was recorded, and record no more."""
        torch.cuda.synchronize()
        recorded = torch.cuda.memory._snapshot()
        torch.cuda.memory._record_memory_history(enabled=None)
        return recorded

    def synchronize(self) -> None:
        """Wait until all is computed."""
        torch.cuda.synchronize()

    def peaks(self) -> dict[str, int]:
        """Return the peaks since `prepare`, named as in `Run`."""
        stats = torch.cuda.memory_stats()
        return {
            "peak_allocated": stats["allocated_bytes.all.peak"],
            "peak_reserved": stats["reserved_bytes.all.peak"],
            "num_segments": stats["segment.all.peak"],
            "num_retries": stats.get("num_alloc_retries", 0) - self._retries,
        }


class NoMeter:
    """The CPU has no allocator to look into: a dry run goes the same way and measures nothing."""

    def prepare(self, cap_bytes: int | None) -> None:
        """Do nothing."""

    def start_history(self) -> None:
        """Do nothing."""

    def stop_history(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def synchronize(self) -> None:
        """Do nothing."""

    def peaks(self) -> dict[str, int]:
        """Return nothing."""
        return {}


NO_SNAPSHOT = "the CPU's allocator has none"


def keep_snapshot(recorded: dict[str, Any], target: Path) -> tuple[str, SnapshotComparison | None]:
    """Hold the simulator against a snapshot and keep it, compressed; give the file's name or why there is none."""
    return finish_snapshot(pickle.dumps(slim(recorded), protocol=4), target) if recorded else (NO_SNAPSHOT, None)


def put_snapshot_aside(recorded: dict[str, Any], raw: Path) -> str:
    """Write a snapshot as it is, which takes no time, for `finish_snapshot`; say where, or why there is none."""
    if not recorded:
        return NO_SNAPSHOT
    write_bytes(raw, pickle.dumps(slim(recorded), protocol=4))
    return raw.name


def finish_snapshot(content: bytes, target: Path) -> tuple[str, SnapshotComparison | None]:
    """Do with a snapshot's bytes what takes long: compress, keep and compare it; give the same as `keep_snapshot`."""
    packed = lzma.compress(content)
    kept = target.name
    if len(packed) > MOST_SNAPSHOT_BYTES:
        kept = f"dropped: {len(packed)} bytes compressed, more than {MOST_SNAPSHOT_BYTES}"
    else:
        write_bytes(target, packed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / target.name.removesuffix(".xz")
        path.write_bytes(content)
        try:
            return kept, compare_snapshot(path)
        except EightgigError as error:
            return f"{kept}; not compared: {error}", None


def slim(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return a snapshot with nothing but what the comparison reads."""
    segments = [
        {
            **{name: segment[name] for name in _SEGMENT_FIELDS if name in segment},
            "blocks": [{"size": block["size"], "state": block["state"]} for block in segment["blocks"]],
        }
        for segment in snapshot["segments"]
    ]
    traces = [
        [{name: entry[name] for name in _ENTRY_FIELDS if name in entry} for entry in trace]
        for trace in snapshot["device_traces"]
    ]
    settings = snapshot.get("allocator_settings", {})
    return {"segments": segments, "device_traces": traces, "allocator_settings": settings}
