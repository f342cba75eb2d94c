"""The flight recorder, on a made-up card and on the CPU."""

import inspect
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tests.plans import make_plan as any_plan
from tests.present import present

from eightgig.core.units import GIB, MIB
from eightgig.vram.plan import PhaseMemory
from eightgig.vram.runtime.budget import EnforcedBudget
from eightgig.vram.runtime.card_memory import Context
from eightgig.vram.runtime.flight_report import FlightReport, PhaseMemoryUse
from eightgig.vram.runtime.memory_probe import (
    CudaMemoryProbe,
    Peaks,
    Reading,
    ResidentMemoryProbe,
    memory_probe_for,
    peaks_of,
)
from eightgig.vram.runtime.offload import HostMemoryError
from eightgig.vram.runtime.recorder import REPORT, FlightRecorder

CUDA_ERROR = "CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 8.00 GiB\nmore words"
FIRST_LINE = "OutOfMemoryError: " + CUDA_ERROR.splitlines()[0]
BUDGET = EnforcedBudget(cap_bytes=7 * GIB, context=Context(num_bytes=GIB, source="measured"))


class FakeCard:
    """A memory probe whose needles the test sets."""

    def __init__(self, **peaks):
        self.allocated = 6 * GIB
        self.peak = peaks_of(peaks, 100 * MIB)
        self.calls = []

    def now(self):
        return Reading(allocated_bytes=self.allocated, reserved_bytes=6 * GIB, free_bytes=GIB, others_bytes=0)

    def allocated_bytes(self):
        return self.allocated

    def peaks(self):
        return self.peak

    def reset_peaks(self):
        self.calls.append("reset")

    def empty_cache(self):
        self.calls.append("empty")
        return 3 * MIB

    def record_history(self, *, on):
        self.calls.append(f"history {on}")

    def snapshot(self, path):
        path.write_bytes(b"snapshot")
        return True

    def set(self, **changes):
        self.peak = self.peak.model_copy(update=changes)


@pytest.fixture
def make_plan():
    def make(device="cuda"):
        phases = tuple(PhaseMemory(phase=p, device=device, parameters=5 * GIB) for p in ("train", "validate"))
        return any_plan(device=device, device_name="RTX", budget_bytes=7 * GIB, context_bytes=GIB, predicted=phases)

    return make


def read(folder):
    return FlightReport.model_validate_json((folder / REPORT).read_text(encoding="utf-8"))


def shortage_error():
    return torch.OutOfMemoryError(CUDA_ERROR)


def test_a_run_that_ends_well_leaves_its_peaks(make_plan, tmp_path):
    card = FakeCard(num_ooms=2, num_alloc_retries=5)  # from an earlier run in the same process
    with FlightRecorder(make_plan(), tmp_path, budget=BUDGET, memory_probe=card) as recorder:
        for peak in (4, 3):
            with recorder.phase("train"):
                card.set(peak_allocated_bytes=peak * GIB, peak_reserved_bytes=(9 - peak) * GIB)
                card.set(num_alloc_retries=card.peak.num_alloc_retries + 1)
        with recorder.phase("validate"):
            card.set(peak_allocated_bytes=GIB, peak_reserved_bytes=2 * GIB, peak_inactive_split_bytes=MIB)

    report = read(tmp_path)
    assert (report.outcome, report.incidents, report.cap_bytes) == ("finished", (), 7 * GIB)
    train, validate = report.phases
    assert (train.peak_allocated_bytes, train.peak_reserved_bytes) == (4 * GIB, 6 * GIB)
    assert train.fragmentation == pytest.approx(1 / 3)
    assert (train.num_alloc_retries, train.num_ooms) == (2, 0)
    assert (validate.phase, validate.peak_inactive_split_bytes, validate.num_alloc_retries) == ("validate", MIB, 0)
    assert card.calls == ["reset"] * 3  # and no history is kept of a healthy run
    assert [path.name for path in tmp_path.iterdir()] == [REPORT]


def test_out_of_memory_leaves_a_snapshot_and_the_verdict_at_once(make_plan, tmp_path):
    card = FakeCard()
    with FlightRecorder(make_plan(), tmp_path, budget=BUDGET, memory_probe=card) as recorder:
        recorder.step_begins(17)
        incident = recorder.out_of_memory(shortage_error(), phase="train", batch=8)
        assert read(tmp_path).incidents == (incident,)
        assert read(tmp_path).outcome == "running"
        recorder.out_of_memory(shortage_error(), phase="train", batch=4)

    shortage = incident.shortage
    assert (shortage.phase, shortage.step, shortage.batch) == ("train", 17, 8)
    assert (shortage.requested_bytes, shortage.cap_bytes, shortage.predicted_bytes) == (GIB, 7 * GIB, 5 * GIB)
    assert shortage.error == FIRST_LINE
    assert incident.diagnosis.code == "too_big"
    assert [i.shortage.snapshot for i in read(tmp_path).incidents] == ["snapshot_1.pickle", "snapshot_2.pickle"]
    assert (tmp_path / "snapshot_2.pickle").read_bytes() == b"snapshot"
    assert card.calls == ["history True", "history False"]  # from the first time on, until the end


def test_a_run_that_dies_of_it_is_told_with_its_phase(make_plan, tmp_path, caplog):
    recorder = FlightRecorder(make_plan(), tmp_path, budget=BUDGET, memory_probe=FakeCard())
    with pytest.raises(torch.OutOfMemoryError), recorder, recorder.phase("validate"):
        raise shortage_error()
    report = read(tmp_path)
    assert report.outcome == FIRST_LINE
    assert [i.shortage.phase for i in report.incidents] == ["validate"]
    assert report.phases[0].phase == "validate"
    assert "out of memory: validation: memory ran out while validating" in caplog.text


def test_between_phases_it_is_outside(make_plan):
    recorder = FlightRecorder(make_plan(), memory_probe=FakeCard())
    with recorder.phase("train"):
        pass
    assert recorder.out_of_memory(shortage_error()).shortage.phase == "outside"


def test_a_run_that_dies_of_something_else_leaves_a_report_too(make_plan, tmp_path):
    with pytest.raises(ZeroDivisionError), FlightRecorder(make_plan(), tmp_path, memory_probe=FakeCard()):
        raise ZeroDivisionError("no")
    assert (read(tmp_path).outcome, read(tmp_path).incidents) == ("ZeroDivisionError: no", ())


def test_files_of_an_earlier_run_go(make_plan, tmp_path):
    for name in (REPORT, "snapshot_1.pickle", "mine.txt"):
        (tmp_path / name).write_text("old")
    with FlightRecorder(make_plan(), tmp_path, memory_probe=FakeCard()):
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_history_from_the_start_when_asked_for(make_plan):
    card = FakeCard()
    with FlightRecorder(make_plan(), memory_probe=card, record_history=True) as recorder:
        assert card.calls == ["history True"]
        recorder.out_of_memory(shortage_error())
    assert card.calls == ["history True", "history False"]


def test_a_disk_that_cannot_be_written_does_not_end_a_run(make_plan, tmp_path, caplog):
    folder = tmp_path / "recorder"
    with FlightRecorder(make_plan(), folder, memory_probe=FakeCard()) as recorder:
        folder.write_text("in the folder's place")
        assert recorder.out_of_memory(shortage_error()).shortage.snapshot is None
    assert "the memory snapshot could not be written" in caplog.text
    assert "the flight recorder's report could not be written" in caplog.text


def test_step_starts_are_thinned_out_evenly(make_plan):
    card = FakeCard()
    recorder = FlightRecorder(make_plan(), memory_probe=card)
    for step in range(1000):
        card.allocated = step
        recorder.step_begins(step)
    starts = recorder.report().step_starts
    assert 128 <= len(starts) <= 256
    assert starts[0] == 0
    assert {after - before for before, after in pairwise(starts)} == {4}
    assert starts[-1] >= 996


def test_a_leak_is_seen_over_the_whole_run(make_plan):
    card = FakeCard()
    recorder = FlightRecorder(make_plan(), memory_probe=card)
    for step in range(3000):
        card.allocated = 2 * GIB + step * MIB
        recorder.step_begins(step)
    assert recorder.out_of_memory(shortage_error()).diagnosis.code == "leak"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("any words"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), True),
        (RuntimeError("CUDA driver error: out of memory"), True),  # expandable segments
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate`"), True),
        (RuntimeError("NCCL error: unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'"), True),
        (HostMemoryError("the machine's memory ran out"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("CUDA out of memory"), False),
        (ValueError("DefaultCPUAllocator: can't allocate memory"), False),
        (RuntimeError("GET was unable to find an engine to execute this computation"), False),
    ],
)
def test_what_counts_as_out_of_memory(make_plan, error, expected):
    assert FlightRecorder(make_plan(), memory_probe=FakeCard()).is_out_of_memory(error) is expected


def test_cudnn_without_an_engine_counts_when_the_allocator_failed(make_plan):
    card = FakeCard(num_ooms=3)
    recorder = FlightRecorder(make_plan(), memory_probe=card)
    error = RuntimeError("GET was unable to find an engine to execute this computation")
    card.set(num_ooms=4)
    assert recorder.is_out_of_memory(error)
    recorder.out_of_memory(error)
    assert not recorder.is_out_of_memory(error)  # that failure is accounted for


def test_torchs_own_message_of_main_memory_is_known(make_plan):
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    recorder = FlightRecorder(make_plan("cpu"))
    assert recorder.is_out_of_memory(caught.value)
    assert recorder.out_of_memory(caught.value).shortage.requested_bytes == 2**52


def test_the_cpu_has_resident_memory_alone(make_plan, tmp_path):
    with FlightRecorder(make_plan("cpu"), tmp_path) as recorder, recorder.phase("train"):
        recorder.step_begins(0)
        incident = recorder.out_of_memory(torch.OutOfMemoryError("injected"), phase="train", batch=4)
    (train,) = read(tmp_path).phases
    assert (train.peak_allocated_bytes, train.fragmentation) == (None, None)
    assert train.resident_bytes > 50 * MIB
    assert incident.shortage.snapshot is None
    assert present(incident.shortage.free_bytes) > 0
    assert incident.diagnosis.code == "too_big"
    assert json.loads((tmp_path / REPORT).read_text())["step_starts"][0] > 50 * MIB


def test_stats_by_torchs_names():
    stats = {
        "allocated_bytes.all.peak": 1,
        "reserved_bytes.all.peak": 2,
        "inactive_split_bytes.all.peak": 3,
        "num_alloc_retries": 4,
        "num_ooms": 5,
    }
    assert peaks_of(stats, 6) == Peaks(
        peak_allocated_bytes=1,
        peak_reserved_bytes=2,
        peak_inactive_split_bytes=3,
        num_alloc_retries=4,
        num_ooms=5,
        resident_bytes=6,
    )


def test_nothing_reserved_is_nothing_fragmented():
    nothing = peaks_of({}, 0)
    assert PhaseMemoryUse.of_span("train", nothing, nothing).fragmentation == 0.0


def test_the_gauge_of_the_cpu():
    assert isinstance(memory_probe_for("cpu", 0), ResidentMemoryProbe)
    reading = ResidentMemoryProbe().now()
    assert reading.allocated_bytes == reading.reserved_bytes > 0


def test_the_gauge_of_a_card_reads_what_others_hold(monkeypatch, tmp_path):
    """8 GiB in all, 1 free; this process has 3 reserved and 0.5 of context: 3.5 are taken by others."""
    calls = []
    for name, fake in {
        "mem_get_info": lambda: (1 * GIB, 8 * GIB),
        "memory_reserved": lambda: 3 * GIB,
        "memory_allocated": lambda: 2 * GIB,
        "memory_stats": lambda: {"num_ooms": 3},
        "reset_peak_memory_stats": lambda: calls.append("reset"),
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    context = Context(num_bytes=GIB // 2, source="measured")
    monkeypatch.setattr("eightgig.vram.runtime.memory_probe.measured_context", lambda _: context)
    monkeypatch.setattr(torch.cuda.memory, "_dump_snapshot", lambda path: Path(path).write_bytes(b"x"))
    memory_probe = memory_probe_for("cuda", GIB)
    memory_probe.reset_peaks()

    assert memory_probe.now() == Reading(
        allocated_bytes=2 * GIB, reserved_bytes=3 * GIB, free_bytes=GIB, others_bytes=int(3.5 * GIB)
    )
    assert (memory_probe.allocated_bytes(), memory_probe.peaks().num_ooms, calls) == (2 * GIB, 3, ["reset"])
    assert memory_probe.snapshot(tmp_path / "snapshot_1.pickle")
    assert [path.name for path in tmp_path.iterdir()] == ["snapshot_1.pickle"]


def test_torch_still_records_history_as_it_is_called(monkeypatch):
    """The functions are private: a torch that changes them fails here, not in the middle of a shortage."""
    calls = []
    bind = inspect.signature(torch.cuda.memory._record_memory_history).bind
    assert "filename" in inspect.signature(torch.cuda.memory._dump_snapshot).parameters
    monkeypatch.setattr(torch.cuda.memory, "_record_memory_history", lambda **named: calls.append(bind(**named)))
    memory_probe = CudaMemoryProbe(0)
    memory_probe.record_history(on=True)
    memory_probe.record_history(on=False)
    assert calls[0].arguments["max_entries"] == 20_000
    assert calls[1].arguments["enabled"] is None


@pytest.mark.gpu
def test_on_a_card(make_plan, tmp_path):
    with FlightRecorder(make_plan(), tmp_path, record_history=True) as recorder:
        with recorder.phase("train"):
            recorder.step_begins(0)
            held = torch.empty(64 * MIB, dtype=torch.uint8, device="cuda")
        with pytest.raises(torch.OutOfMemoryError) as caught:
            torch.empty(2**50, dtype=torch.uint8, device="cuda")
        incident = recorder.out_of_memory(caught.value, phase="train", batch=2)
        del held
    report = read(tmp_path)
    assert report.phases[0].peak_allocated_bytes >= 64 * MIB
    assert 0 <= report.phases[0].fragmentation < 1
    assert incident.shortage.requested_bytes == 2**50
    assert (tmp_path / "snapshot_1.pickle").stat().st_size > 1000


FULL_CARD = """
import torch
held = []
for size in (2**28, 2**21, 2**12):
    try:
        while True:
            held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
    except torch.OutOfMemoryError:
        pass
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.recorder import FlightRecorder
plan = MemoryPlan.model_construct(device="cuda", device_name="", budget_bytes=0, context_bytes=0, predicted=())
try:
    held[0][:4].view(torch.float32).view(1, 1) @ held[1][:4].view(torch.float32).view(1, 1)
    image = held[2][:36].view(torch.float32).view(1, 1, 3, 3)
    weight = held[3][:4].view(torch.float32).view(1, 1, 1, 1)
    torch.nn.functional.conv2d(image, weight)
    torch.cuda.synchronize()
    print("fitted")
except RuntimeError as error:
    print("recognised" if FlightRecorder(plan).is_out_of_memory(error) else f"not recognised: {error}")
"""


@pytest.mark.gpu
def test_on_a_full_card_what_libraries_say_is_recognised():
    """A handle of cuBLAS or cuDNN that cannot be made: torch's allocator has taken all there is."""
    done = subprocess.run([sys.executable, "-c", FULL_CARD], check=False, capture_output=True, text=True)
    assert done.stdout.strip() in {"recognised", "fitted"}, done.stdout + done.stderr
