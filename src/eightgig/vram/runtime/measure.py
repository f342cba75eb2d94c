"""Memory as it was: the allocator's own peaks on CUDA, the process's resident memory everywhere."""

import threading
import time
from types import TracebackType

import psutil

from eightgig.core.device import DeviceKind
from eightgig.core.records import Record

_SAMPLE_INTERVAL_S = 0.02  # shorter than a step, and reading costs little


class MeasuredPhase(Record):
    """What one phase took, in bytes.

    Attributes:
        peak_allocated_bytes: the most held in tensors on the GPU; None on the CPU.
        peak_reserved_bytes: the most that torch's allocator held of the GPU; None on the CPU.
        fragmentation: 1 - allocated / reserved at their peaks; None on the CPU.
        peak_resident_bytes: the most the process held of the machine's memory.
        resident_growth_bytes: that, less what it held when the phase began.
    """

    phase: str
    device: DeviceKind
    seconds: float
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    fragmentation: float | None = None
    peak_resident_bytes: int
    resident_growth_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The figure to hold against a prediction: allocated on CUDA, growth of resident memory on the CPU."""
        return self.resident_growth_bytes if self.peak_allocated_bytes is None else self.peak_allocated_bytes


class CacheClearings(Record):
    """What giving back the allocator's cache every so many steps (`train.empty_cache_every`) cost and brought.

    Attributes:
        count: times it was done.
        seconds: all of them together. The time to get the memory again, step by step, is not in it.
        given_back_bytes: all of them together.
    """

    count: int = 0
    seconds: float = 0.0
    given_back_bytes: int = 0

    def with_one_more(self, seconds: float, given_back_bytes: int) -> "CacheClearings":
        """Return the sums with one more."""
        return CacheClearings(
            count=self.count + 1,
            seconds=self.seconds + seconds,
            given_back_bytes=self.given_back_bytes + given_back_bytes,
        )


class MemoryMeter:
    """Measures from `start` (or `with`) to `stop`; may be started again, and keeps the highest of all its spans.

    Resident memory has no peak that can be reset everywhere, so a thread samples it every 20 ms.
    """

    def __init__(self, phase: str, device: DeviceKind) -> None:
        self._phase, self._device = phase, device
        self._process = psutil.Process()
        self._begun_bytes: int | None = None
        self._peak_resident = self._allocated = self._reserved = 0
        self._seconds = 0.0
        self._stopped = threading.Event()
        self._sampler: threading.Thread | None = None

    def start(self) -> None:
        """Begin a span."""
        resident = self._process.memory_info().rss
        self._begun_bytes = resident if self._begun_bytes is None else self._begun_bytes
        self._peak_resident = max(self._peak_resident, resident)
        if self._device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
        self._stopped.clear()
        self._started_at = time.perf_counter()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def stop(self) -> None:
        """End the span."""
        self._stopped.set()
        if self._sampler:
            self._sampler.join()
            self._sampler = None
        self._seconds += time.perf_counter() - self._started_at
        if self._device == "cuda":
            import torch

            self._allocated = max(self._allocated, torch.cuda.max_memory_allocated())
            self._reserved = max(self._reserved, torch.cuda.max_memory_reserved())

    def __enter__(self) -> "MemoryMeter":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def result(self) -> MeasuredPhase:
        """Return what was measured so far."""
        on_cuda = self._device == "cuda"
        return MeasuredPhase(
            phase=self._phase,
            device=self._device,
            seconds=round(self._seconds, 3),
            peak_allocated_bytes=self._allocated if on_cuda else None,
            peak_reserved_bytes=self._reserved if on_cuda else None,
            fragmentation=(1 - self._allocated / self._reserved if self._reserved else 0.0) if on_cuda else None,
            peak_resident_bytes=self._peak_resident,
            resident_growth_bytes=self._peak_resident - (self._begun_bytes or self._peak_resident),
        )

    def _sample(self) -> None:
        while not self._stopped.wait(_SAMPLE_INTERVAL_S):
            self._peak_resident = max(self._peak_resident, self._process.memory_info().rss)
