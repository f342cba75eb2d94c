"""The benchmark on a real card, as far as it can be tried without one: a mistake in it would cost the time on a GPU."""

import importlib
import json
import lzma
import sys
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
import torch

from eightgig.core.units import GIB, MIB
from eightgig.vram.allocator.snapshot_file import read_snapshot
from eightgig.vram.runtime.card_memory import Context

# A segment with one block that is held, after another was given back; stacks and times as torch writes them.
ENTRIES = [
    ("segment_alloc", 0, 2 * MIB),
    ("alloc", 0, 512),
    ("alloc", 512, 512),
    ("free_requested", 512, 512),
    ("free_completed", 512, 512),
]
RECORDED = {
    "segments": [
        {
            "device": 0,
            "address": 0,
            "total_size": 2 * MIB,
            "allocated_size": 512,
            "stream": 0,
            "segment_type": "small",
            "segment_pool_id": (0, 0),
            "is_expandable": False,
            "frames": [],
            "blocks": [
                {"address": 0, "size": 512, "requested_size": 512, "state": "active_allocated", "frames": []},
                {"address": 512, "size": 2 * MIB - 512, "requested_size": 0, "state": "inactive", "frames": []},
            ],
        }
    ],
    "device_traces": [
        [
            {"action": a, "addr": at, "size": size, "stream": 0, "pool_id": (0, 0), "time_us": 7, "frames": [object()]}
            for a, at, size in ENTRIES
        ]
    ],
    "allocator_settings": {"PYTORCH_CUDA_ALLOC_CONF": "", "max_split_size": -1},
    "external_annotations": [object()],
}


@pytest.fixture
def bench(project_path, monkeypatch):
    """The benchmark's modules."""
    monkeypatch.syspath_prepend(str(project_path / "benchmarks"))
    names = ("vram_gpu", "gpu_allocator", "gpu_cases", "gpu_results", "gpu_row")
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


class FakeMeter:
    """An allocator that refuses under a cap, or has to give back its cache."""

    def __init__(self, error=None, retries=0):
        self.error, self.retries, self.caps = error, retries, []

    def prepare(self, cap_bytes):
        self.caps.append(cap_bytes)

    def start_history(self):
        pass

    def stop_history(self):
        return {}

    def synchronize(self):
        if self.error is not None and self.caps[-1] is not None:
            raise self.error

    def peaks(self):
        retries = self.retries if self.caps[-1] is not None else 0
        return {"peak_allocated": 100, "peak_reserved": 200, "num_segments": 3, "num_retries": retries}


def order(bench, tmp_path, *, fits=True):
    case = bench.gpu_cases.dry_case()
    return bench.gpu_row.Order(
        workload=case.workload,
        options=bench.gpu_cases.StepOptions(micro_batch=4, optimizer="adam", accumulates=True),
        gradient_accumulation_steps=2,
        device="cpu",
        budget_gib=8,
        context=Context(num_bytes=0, source="planned"),
        fits=fits,
        num_steps=5,
        snapshot=tmp_path / "snapshots" / "row.pickle.xz",
    )


def test_a_row_that_fits_runs_once_under_the_cap(bench, tmp_path):
    meter = FakeMeter()
    measured = bench.gpu_row.Row(order(bench, tmp_path), meter).measure(8 * GIB)
    assert meter.caps == [8 * GIB]
    assert measured.capped == measured.undisturbed
    assert (measured.capped.num_steps, measured.capped.peak_allocated) == (5, 100)
    assert measured.capped.step_seconds > 0


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory.\nmore"), RuntimeError("unable to find an engine to execute")]
)
def test_a_row_that_runs_out_is_measured_without_the_cap(bench, tmp_path, error):
    meter = FakeMeter(error)
    measured = bench.gpu_row.Row(order(bench, tmp_path), meter).measure(8 * GIB)
    assert meter.caps == [8 * GIB, None]
    assert measured.capped.ran_out == str(error).splitlines()[0]
    assert (measured.capped.num_steps, measured.undisturbed.num_steps) == (0, 6)
    assert measured.undisturbed.ran_out is None


def test_a_row_that_gave_back_its_cache_is_measured_without_the_cap_too(bench, tmp_path):
    meter = FakeMeter(retries=2)
    measured = bench.gpu_row.Row(order(bench, tmp_path), meter).measure(8 * GIB)
    assert meter.caps == [8 * GIB, None]
    assert (measured.capped.num_retries, measured.undisturbed.num_retries) == (2, 0)


def test_a_refused_row_takes_two_steps_under_the_cap_and_its_time_without(bench, tmp_path):
    measured = bench.gpu_row.Row(order(bench, tmp_path, fits=False), FakeMeter()).measure(8 * GIB)
    assert (measured.capped.num_steps, measured.undisturbed.num_steps) == (2, 6)


def test_another_error_is_not_taken_for_a_shortage(bench, tmp_path):
    with pytest.raises(RuntimeError, match="illegal memory access"):
        bench.gpu_row.Row(order(bench, tmp_path), FakeMeter(RuntimeError("illegal memory access"))).measure(8 * GIB)


def test_the_meter_asks_torch_in_ways_that_it_understands(bench, monkeypatch):
    stats = {"allocated_bytes.all.peak": 1, "reserved_bytes.all.peak": 2, "segment.all.peak": 3, "num_alloc_retries": 4}
    asked = {
        name: create_autospec(getattr(torch.cuda, name))
        for name in ("synchronize", "empty_cache", "set_per_process_memory_fraction", "reset_peak_memory_stats")
    }
    for name, fake in asked.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.cuda, "memory_stats", create_autospec(torch.cuda.memory_stats, return_value=stats))
    properties = SimpleNamespace(total_memory=140 * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None, raising=False)
    for name in ("_record_memory_history", "_snapshot"):
        monkeypatch.setattr(torch.cuda.memory, name, create_autospec(getattr(torch.cuda.memory, name)))
    meter = bench.gpu_allocator.CudaMeter()
    meter.prepare(7 * GIB)
    meter.start_history()
    meter.stop_history()
    meter.prepare(None)
    shares = [call.args[0] for call in asked["set_per_process_memory_fraction"].call_args_list]
    assert shares == [0.05, 1.0]
    assert meter.peaks() == {"peak_allocated": 1, "peak_reserved": 2, "num_segments": 3, "num_retries": 0}


def test_a_snapshot_is_kept_small_and_compared(bench, tmp_path):
    target = tmp_path / "snapshots" / "row.pickle.xz"
    kept, comparison = bench.gpu_allocator.keep_snapshot(RECORDED, target)
    assert (kept, comparison.exact, comparison.num_entries) == ("row.pickle.xz", True, 5)
    plain = tmp_path / "row.pickle"
    plain.write_bytes(lzma.decompress(target.read_bytes()))
    assert len(read_snapshot(plain).traces[0]) == 5


def test_a_snapshot_that_is_too_large_is_dropped_with_a_note(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(bench.gpu_allocator, "MOST_SNAPSHOT_BYTES", 10)
    kept, comparison = bench.gpu_allocator.keep_snapshot(RECORDED, tmp_path / "row.pickle.xz")
    assert kept.startswith("dropped: ")
    assert comparison.exact
    assert not list(tmp_path.iterdir())


def test_a_snapshot_that_cannot_be_compared_is_kept_all_the_same(bench, tmp_path):
    damaged = {**RECORDED, "segments": []}
    kept, comparison = bench.gpu_allocator.keep_snapshot(damaged, tmp_path / "row.pickle.xz")
    assert kept.startswith("row.pickle.xz; not compared: ")
    assert comparison is None
    assert (tmp_path / "row.pickle.xz").exists()


def test_without_a_gpu_it_says_so(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench.vram_gpu, "has_gpu", lambda: False)
    assert bench.vram_gpu.main([]) == 2
    assert "torch finds no usable GPU: nothing was measured" in capsys.readouterr().out


def test_the_dry_run_goes_the_whole_way(bench, tmp_path, capsys):
    assert bench.vram_gpu.main(["--dry-run", "--results", str(tmp_path)]) == 0
    kept = json.loads((tmp_path / "vram_gpu-dry-run.json").read_text())
    row = kept["rows"]["cartpole_agent, fp32"]
    assert row["measured"]["capped"]["num_steps"] == 20
    assert row["planned"]["predicted"]["peak_allocated"] > 0
    assert row["planned"]["gradient_accumulation_steps"] == 2
    assert kept["summary"]["rows_measured"] == 1
    assert "vram_gpu-dry-run.json: 1 rows, 0 left" in capsys.readouterr().out
    assert sys.modules["torch"].cuda.is_initialized() is False


@pytest.mark.gpu
def test_a_row_on_the_card_at_hand(bench, tmp_path):
    assert bench.vram_gpu.main(["--only", "cartpole_agent, amp", "--steps", "4", "--results", str(tmp_path)]) == 0
    kept = json.loads(next(tmp_path.glob("vram_gpu-*.json")).read_text())
    row = kept["rows"]["cartpole_agent, amp"]
    assert row["measured"]["capped"]["ran_out"] is None
    assert row["errors"] is not None
    assert (tmp_path / "snapshots" / row["measured"]["snapshot"]).exists()
    assert row["measured"]["comparison"]["exact"]
