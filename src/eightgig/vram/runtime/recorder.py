"""The flight recorder: watches what a run's memory does, and says why it ran out when it did."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import torch

from eightgig.core.files import write_text
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.budget import EnforcedBudget
from eightgig.vram.runtime.diagnosis import Shortage, diagnose, requested_bytes
from eightgig.vram.runtime.flight_report import FlightReport, Incident, PhaseMemoryUse
from eightgig.vram.runtime.measure import CacheClearings
from eightgig.vram.runtime.memory_probe import MemoryProbe, memory_probe_for
from eightgig.vram.runtime.offload import HostMemoryError

logger = logging.getLogger(__name__)
REPORT = "report.json"
_MAX_STEP_STARTS = 256  # enough to tell a steady growth, and few KB of a report
_OF_THE_HOST = re.compile(r"DefaultCPUAllocator: (can't allocate|not enough) memory")  # the second on Windows
# What the driver and NVIDIA's libraries say when they are refused memory past torch's allocator. Expandable segments
# ask the driver themselves ("CUDA driver error"), NCCL tells of a "Cuda failure", and a library whose handle cannot be
# made for want of memory is "not initialized".
_OF_THE_CARD = re.compile(
    r"CUDA (driver )?error: out of memory|Cuda failure[^\n]*out of memory|cudaErrorMemoryAllocation"
    r"|CU\w+_ALLOC(ATION)?_FAILED|CU(BLAS|DNN)_STATUS_NOT_INITIALIZED"
)
_CUDNN_GAVE_UP = "unable to find an engine to execute this computation"


class FlightRecorder:
    """Watches one run; `with` it, a report is left in `folder` however the run ends.

    Args:
        folder: for the report and the snapshots; those of an earlier run are removed. None writes nothing.
        budget: the cap that holds.
        record_history: keep where allocations were made from the start, not only after memory ran out once; it costs
            a few microseconds an allocation.
        memory_probe: where memory is read; None reads the plan's device.
    """

    def __init__(
        self,
        plan: MemoryPlan,
        folder: Path | None = None,
        *,
        budget: EnforcedBudget | None = None,
        record_history: bool = False,
        memory_probe: MemoryProbe | None = None,
    ) -> None:
        self._plan, self._folder, self._budget = plan, folder, budget or EnforcedBudget()
        self._memory_probe = memory_probe or memory_probe_for(plan.device, plan.context_bytes)
        self._record_history = record_history
        self._phases: dict[str, PhaseMemoryUse] = {}
        self._incidents: list[Incident] = []
        self._step_starts, self._clearings = _Series(), CacheClearings()
        self._phase, self._step = "outside", 0
        self._num_ooms = self._memory_probe.peaks().num_ooms

    def __enter__(self) -> "FlightRecorder":
        if self._folder is not None:
            for old in (self._folder / REPORT, *self._folder.glob("snapshot_*.pickle")):
                old.unlink(missing_ok=True)
        if self._record_history:
            self._memory_probe.record_history(on=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None and self.is_out_of_memory(error):
            logger.error("out of memory: %s", self.out_of_memory(error).diagnosis.sentence)
        if self._record_history:
            self._memory_probe.record_history(on=False)
        self._write("finished" if error is None else _first_line(error))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a span of a phase."""
        self._phase = name
        self._memory_probe.reset_peaks()
        before = self._memory_probe.peaks()
        try:
            yield
        finally:
            span = PhaseMemoryUse.of_span(name, before, self._memory_probe.peaks())
            self._phases[name] = self._phases[name].merged_with(span) if name in self._phases else span
        self._phase = "outside"  # but not after an error, which is told with the phase it came from

    def step_begins(self, step: int) -> None:
        """Note what is held when optimizer step `step` begins; it should always be the same."""
        self._step = step
        if self._step_starts.wants_next():
            self._step_starts.add(self._memory_probe.allocated_bytes())

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Tell whether an error says that memory ran out.

        Libraries that take memory past torch's allocator have words of their own. cuDNN says only that it found no
        engine when it was not given its workspace: then the allocator's own count of failures tells.
        """
        if not isinstance(error, RuntimeError):
            return False
        if isinstance(error, torch.OutOfMemoryError) or _is_of_the_host(error) or _OF_THE_CARD.search(str(error)):
            return True
        return _CUDNN_GAVE_UP in str(error) and self._memory_probe.peaks().num_ooms > self._num_ooms

    def out_of_memory(self, error: BaseException, *, phase: str | None = None, batch: int = 0) -> Incident:
        """Record the moment memory ran out; call it while the error is handled, when all is still held.

        Args:
            error: what was raised.
            phase: where, when it is not the phase that is being measured.
            batch: samples that went through the network at a time.
        """
        shortage = self._shortage(error, phase or self._phase, batch, self._snapshot())
        incident = Incident(shortage=shortage, diagnosis=diagnose(shortage))
        self._incidents.append(incident)
        self._num_ooms = self._memory_probe.peaks().num_ooms
        self._write("running")
        if not self._record_history:  # the next snapshot shall say where things were made
            self._record_history = True
            self._memory_probe.record_history(on=True)
        return incident

    def empty_cache(self) -> None:
        """Let the allocator give back what nobody uses, and note what that brought and how long it took."""
        begun = time.perf_counter()
        given_back = self._memory_probe.empty_cache()
        self._clearings = self._clearings.with_one_more(time.perf_counter() - begun, given_back)

    def report(self, outcome: str = "running") -> FlightReport:
        """Return all that was recorded so far."""
        return FlightReport(
            device=self._plan.device,
            device_name=self._plan.device_name,
            outcome=outcome,
            budget_bytes=self._plan.budget_bytes,
            cap_bytes=self._budget.cap_bytes,
            context=self._budget.context,
            phases=tuple(self._phases.values()),
            incidents=tuple(self._incidents),
            step_starts=self._step_starts.values,
            cache_clearings=self._clearings,
        )

    def _shortage(self, error: BaseException, phase: str, batch: int, snapshot: str | None) -> Shortage:
        predicted: dict[str, int] = {
            part.phase: part.peak_bytes for part in self._plan.predicted if part.device == self._plan.device
        }
        return Shortage(
            device=self._plan.device,
            phase=phase,
            step=self._step,
            batch=batch,
            requested_bytes=requested_bytes(str(error)),
            cap_bytes=self._budget.cap_bytes,
            predicted_bytes=predicted.get("train" if phase == "optimizer" else phase),
            step_starts=self._step_starts.values,
            error=_first_line(error),
            of_host=_is_of_the_host(error),
            snapshot=snapshot,
            **self._memory_probe.now().model_dump(),
        )

    def _snapshot(self) -> str | None:
        if self._folder is None:
            return None
        path = self._folder / f"snapshot_{len(self._incidents) + 1}.pickle"
        try:
            return path.name if self._memory_probe.snapshot(path) else None
        except OSError as problem:  # a full disk must not end a run that can go on
            logger.warning("the memory snapshot could not be written: %s", problem)
            return None

    def _write(self, outcome: str) -> None:
        if self._folder is None:
            return
        try:
            write_text(self._folder / REPORT, self.report(outcome).model_dump_json(indent=1))
        except OSError as problem:
            logger.warning("the flight recorder's report could not be written: %s", problem)


class _Series:
    """Numbers over a run of unknown length, evenly thinned out to a few hundred."""

    def __init__(self) -> None:
        self._kept: list[int] = []
        self._every, self._seen = 1, 0

    @property
    def values(self) -> tuple[int, ...]:
        return tuple(self._kept)

    def wants_next(self) -> bool:
        self._seen += 1
        return (self._seen - 1) % self._every == 0

    def add(self, value: int) -> None:
        self._kept.append(value)
        if len(self._kept) == _MAX_STEP_STARTS:
            self._kept = self._kept[::2]
            self._every *= 2


def _is_of_the_host(error: BaseException) -> bool:
    """Tell whether it is the machine's memory that ran out, whatever device the run is on."""
    return isinstance(error, HostMemoryError) or _OF_THE_HOST.search(str(error)) is not None


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
