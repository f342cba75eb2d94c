"""One row of vram_gpu.py: real steps under the budget, and what they took, in a process of its own.

`python gpu_row.py probe DEVICE` says what machine this is; `python gpu_row.py run ORDER RESULT` carries out the order
in one file and writes the result to the other.
"""

import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from gpu_allocator import CudaMeter, NoMeter, keep_snapshot, put_snapshot_aside
from gpu_training import Training

from eightgig.core.device import DeviceKind, describe_device
from eightgig.core.files import write_text
from eightgig.core.records import Record
from eightgig.core.units import bytes_from_gib
from eightgig.vram.allocator.snapshot import SnapshotComparison
from eightgig.vram.runtime.budget import cap_of
from eightgig.vram.runtime.card_memory import Context, context_to_keep, measured_context
from eightgig.vram.tracing.card_probe import driver_version
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.workload import Workload

RECORDED_STEPS = 2  # the first, in which the optimizer makes its state, and one as all that follow
TIMED_STEPS = 4  # beyond those, where there is no cap
_NO_ENGINE = "unable to find an engine"  # cuDNN, when it is not given its workspace


class Machine(Record):
    """The card and what runs on it.

    Attributes:
        context: before any kernel was loaded; of the CPU, nothing.
    """

    device: DeviceKind
    card: str
    compute_capability: tuple[int, int]
    total_bytes: int
    context: Context
    driver: str
    torch: str
    cuda: str
    cudnn: str
    python: str


class Order(Record):
    """What a row runs.

    Attributes:
        context: taken off the budget where the row's own process, before its first kernel, takes less.
        fits: whether the plan says that it fits under the cap.
        num_steps: under the cap, where it fits.
        cudnn_attention: leave the kernel to torch, which takes cuDNN's on H100 and B200; otherwise that is switched
            off, and the kernels are those of GeForce cards.
        snapshot: where to keep the snapshot; one named `.pickle` is put aside as it is, to be compressed later.
    """

    workload: WorkloadSpec
    options: StepOptions
    gradient_accumulation_steps: int
    device: DeviceKind
    budget_gib: float
    context: Context
    fits: bool
    num_steps: int
    cudnn_attention: bool = False
    snapshot: Path


class Run(Record):
    """Some steps in a row; None where there is no such figure (the CPU, or too few steps were done).

    Attributes:
        capped: whether the budget was enforced.
        num_steps: that were done.
        ran_out: the error, where memory ran out.
        step_seconds: the median, without the first steps.
        loss: of the last micro-batch.
    """

    capped: bool
    num_steps: int
    ran_out: str | None = None
    peak_allocated: int | None = None
    peak_reserved: int | None = None
    num_segments: int | None = None
    num_retries: int | None = None
    step_seconds: float | None = None
    loss: float | None = None


class Measured(Record):
    """A row's runs.

    Attributes:
        capped: under the budget.
        undisturbed: in which the allocator took what it wanted, to hold against the prediction: without a cap where
            memory ran out under it or the allocator had to give back its cache, else the same.
        cap_bytes: the budget less the context.
        context_after: the context when all kernels were loaded.
        snapshot: the file that was kept, or why there is none.
        comparison: of the allocator's simulator with the snapshot.
    """

    capped: Run
    undisturbed: Run
    cap_bytes: int | None = None
    context_after: Context | None = None
    snapshot: str
    comparison: SnapshotComparison | None = None


class Row:
    """Carries out one order."""

    def __init__(self, order: Order, meter: CudaMeter | NoMeter, ready: Workload | None = None) -> None:
        self._order, self._meter, self._ready = order, meter, ready
        self._recorded: dict[str, Any] = {}
        self._seconds: list[float] = []
        self._loss: float | None = None

    def measure(self, cap_bytes: int | None) -> Measured:
        """Run under the cap, and without it where that is needed for undisturbed figures."""
        capped = self._run(cap_bytes, self._order.num_steps if self._order.fits else RECORDED_STEPS)
        undisturbed = capped
        if capped.ran_out is not None or capped.num_retries or capped.step_seconds is None:
            undisturbed = self._run(None, RECORDED_STEPS + TIMED_STEPS)
        kept, comparison = self._kept_snapshot()
        return Measured(
            capped=capped, undisturbed=undisturbed, cap_bytes=cap_bytes, snapshot=kept, comparison=comparison
        )

    def _kept_snapshot(self) -> tuple[str, SnapshotComparison | None]:
        target = self._order.snapshot
        if target.suffix == ".pickle":
            return put_snapshot_aside(self._recorded, target), None
        return keep_snapshot(self._recorded, target)

    def _run(self, cap_bytes: int | None, num_steps: int) -> Run:
        self._meter.prepare(cap_bytes)
        self._recorded, self._seconds, self._loss, ran_out = {}, [], None, None
        self._meter.start_history()
        try:
            self._train(num_steps)
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and _NO_ENGINE not in str(error):
                raise
            ran_out = str(error).partition("\n")[0]
        self._recorded = self._recorded or self._meter.stop_history()
        timed = self._seconds[RECORDED_STEPS:]
        return Run(
            capped=cap_bytes is not None,
            num_steps=len(self._seconds),
            ran_out=ran_out,
            step_seconds=statistics.median(timed) if timed else None,
            loss=self._loss,
            **self._meter.peaks(),
        )

    def _train(self, num_steps: int) -> None:
        order = self._order
        workload, self._ready = self._ready or order.workload, None  # a workload is used up by its run
        training = Training(
            workload, order.options, gradient_accumulation_steps=order.gradient_accumulation_steps, device=order.device
        )
        for step in range(num_steps):
            self._meter.synchronize()
            begun = time.perf_counter()
            loss = training.step()
            self._meter.synchronize()
            self._seconds.append(time.perf_counter() - begun)
            if step + 1 == RECORDED_STEPS:
                self._recorded = self._meter.stop_history()
        self._loss = float(loss)


def probe(device: DeviceKind) -> Machine:
    """Return what this machine is."""
    common = {"device": device, "card": describe_device(device), "torch": torch.__version__}
    versions = {"cuda": torch.version.cuda or "none", "cudnn": str(torch.backends.cudnn.version() or "none")}
    context, capability, total, driver = Context(num_bytes=0, source="planned"), (0, 0), 0, "none"
    if device == "cuda":
        context, driver = _context(Context(num_bytes=0, source="planned")), driver_version()
        properties = torch.cuda.get_device_properties(0)
        capability, total = (properties.major, properties.minor), properties.total_memory
    return Machine(
        **common,
        **versions,
        compute_capability=capability,
        total_bytes=total,
        context=context,
        driver=driver,
        python=platform.python_version(),
    )


def carry_out(order: Order, ready: Workload | None = None) -> Measured:
    """Measure an order on its device; `ready` is its workload, where it was built ahead."""
    torch.manual_seed(0)
    if order.device == "cpu":
        return Row(order, NoMeter(), ready).measure(None)
    torch.backends.cuda.enable_cudnn_sdp(order.cudnn_attention)
    total = torch.cuda.get_device_properties(0).total_memory
    context = context_to_keep(_context(order.context).num_bytes, order.context.num_bytes)  # kernels come later
    measured = Row(order, CudaMeter(), ready).measure(cap_of(bytes_from_gib(order.budget_gib), context, total))
    return measured.model_copy(update={"context_after": measured_context(order.context.num_bytes)})


def _context(otherwise: Context) -> Context:
    torch.zeros(1, device="cuda")  # the context is there only from the first use on
    torch.cuda.empty_cache()
    return measured_context(otherwise.num_bytes)


def main(arguments: list[str]) -> None:
    """Do what the parent asks."""
    if arguments[0] == "probe":
        print(probe("cuda" if arguments[1] == "cuda" else "cpu").model_dump_json())
        return
    order = Order.model_validate_json(Path(arguments[1]).read_text(encoding="utf-8"))
    write_text(Path(arguments[2]), carry_out(order).model_dump_json())


if __name__ == "__main__":
    main(sys.argv[1:])
