"""One table of all variants of a network: how right, how fast, how large, on the same inputs."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from eightgig.bench.gates import judge
from eightgig.bench.kept_predictions import KeptAnswers
from eightgig.bench.latency import Call, LatencyReport, resized
from eightgig.bench.parameters import GateParameters, LatencyParameters
from eightgig.bench.records import LatencyRow, VariantRow
from eightgig.bench.sessions import LabelledBatch, Measured, Session, Variant, batch_of
from eightgig.core.device import resolve_device
from eightgig.core.errors import BudgetError, ConfigurationError, DataError
from eightgig.core.units import mib
from eightgig.export.cpu import has_exact_int8
from eightgig.export.evaluator import Evaluator
from eightgig.export.runners import Arrays, Runner
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.budget import cleared_memory
from eightgig.vram.runtime.execution import carrying_out
from eightgig.vram.runtime.recorder import FlightRecorder

__all__ = ["LabelledBatch", "Variant", "benchmark_variants"]
_WANTED_INT8_SPEEDUP = 1.5
# Answers of the reference that wait for the variants on the GPU; a machine of 16 GiB has room for them beside all else.
_KEPT_ANSWERS_BYTES = 2**30


def benchmark_variants(
    variants: Sequence[Variant],
    batches: Callable[[], Iterable[LabelledBatch]],
    evaluator: Evaluator,
    *,
    latency: LatencyParameters,
    gates: GateParameters,
    whole_call: Callable[[Runner], Call] | None = None,
    memory: MemoryPlan | None = None,
) -> tuple[list[VariantRow], list[LatencyRow]]:
    """Return a row a variant, in their order, judged by the gates; and a row a variant and batch size.

    Those on the CPU are open together and take turns. Those on a GPU are opened one at a time, so that each has the
    whole budget, while the reference stays open beside them.

    Args:
        variants: the reference (torch eager, float32) first, then from simple to complex.
        batches: gives the same batches from the first on whenever it is called: once for all on the CPU, and once for
            each on a GPU.
        evaluator: reads, judges and compares what they give.
        latency: how speed is measured, on samples of the first batch.
        gates: what a variant must keep to be recommended.
        whole_call: gives, for a runner, the call from one stored sample to its answer; None leaves that out.
        memory: the plan whose budget holds for each variant on a GPU; None caps nothing.

    Raises:
        ConfigurationError: no variant.
        DataError: no batch.
        Exception: whatever the reference raises; what another raises because it cannot be run or because memory ran
            out becomes its status.
    """
    if not variants:
        raise ConfigurationError("a benchmark wants at least 1 variant, the reference; found none")
    first = next(iter(batches()), None)
    if first is None:
        raise DataError("a benchmark wants at least 1 batch of labelled images, found none")
    found = _Benchmark(variants, batches, first[0], evaluator, latency, whole_call, memory).run()
    measured = {variant.name: found[variant.name] for variant in variants}
    rows = [_row_of(variant, measured[variant.name], evaluator) for variant in variants]
    return [_with_note(row) for row in judge(rows, gates)], list(_latency_rows(measured))


class _Benchmark:
    def __init__(
        self,
        variants: Sequence[Variant],
        batches: Callable[[], Iterable[LabelledBatch]],
        feeds: Arrays,
        evaluator: Evaluator,
        latency: LatencyParameters,
        whole_call: Callable[[Runner], Call] | None,
        memory: MemoryPlan | None,
    ) -> None:
        self._batches, self._evaluator, self._latency = batches, evaluator, latency
        self._feeds, self._largest = feeds, resized(feeds, max(latency.batch_sizes))
        self._whole_call, self._memory = whole_call, memory
        self._reference = variants[0].name
        self._alone = [variant for variant in variants[1:] if variant.is_on_gpu]
        self._together = [variant for variant in variants if variant not in self._alone]
        self._has_gpu = resolve_device("auto") == "cuda"

    def run(self) -> dict[str, Measured]:
        with cleared_memory(on_card=self._has_gpu), self._session() as session:
            for variant in self._together:
                self._open(session, variant)
            reference = session.runners[self._reference]
            room = _KEPT_ANSWERS_BYTES if self._has_gpu and self._alone else 0
            kept = KeptAnswers(reference, self._evaluator, room_bytes=room)
            session.ask(self._batches(), kept)
            self._time_together(session)
            measured = dict(session.measured)
            for name in [name for name in session.runners if name != self._reference]:
                session.close(name)
            for variant in self._alone:
                measured[variant.name] = self._on_card(variant, reference, kept)
        return measured

    def _on_card(self, variant: Variant, reference: Runner, kept: KeptAnswers) -> Measured:
        session = self._session()
        try:
            with self._budget(), session:
                self._open(session, variant)
                session.ask(self._batches(), kept)
                self._time_beside(session, variant.name, reference)
        except BudgetError as error:  # not even the CUDA context fits
            return session.dropped(str(error))
        return session.measured[variant.name]

    def _session(self) -> Session:
        recorder = FlightRecorder(self._memory) if self._memory else None
        return Session(self._evaluator, self._reference, recorder)

    def _budget(self) -> AbstractContextManager[object]:
        return carrying_out(self._memory) if self._memory and self._has_gpu else nullcontext()

    def _open(self, session: Session, variant: Variant) -> None:
        session.open(variant, self._largest, on_gpu=variant.is_on_gpu and self._has_gpu)

    def _time_together(self, session: Session) -> None:
        first = self._latency.batch_sizes[0]
        for size in self._latency.batch_sizes:
            for name, report in self._turns(session, size).items():
                session.measured[name].speed[size] = report
        for name in session.runners:
            session.measured[name].reference_p50_ms = session.measured[self._reference].speed[first].p50_ms
        self._time_whole(session)

    def _time_beside(self, session: Session, name: str, reference: Runner) -> None:
        """Time one with the reference in turn, where both figures make a ratio; what is left alone: it is no ratio."""
        first, *others = self._latency.batch_sizes
        reports = self._turns(session, first, beside={self._reference: reference})
        if reports:
            found = session.measured[name]
            found.speed[first], found.reference_p50_ms = reports[name], reports[self._reference].p50_ms
        for size in others:
            for report in self._turns(session, size).values():
                session.measured[name].speed[size] = report
        self._time_whole(session)

    def _turns(self, session: Session, size: int, **options: Any) -> dict[str, LatencyReport]:
        return session.take_turns(batch_of(self._feeds, size), batch_size=size, parameters=self._latency, **options)

    def _time_whole(self, session: Session) -> None:
        if self._whole_call is None:
            return
        reports = session.take_turns(self._whole_call, batch_size=1, parameters=self._latency)
        for name, report in reports.items():
            session.measured[name].whole = report


def _row_of(variant: Variant, measured: Measured, evaluator: Evaluator) -> VariantRow:
    if measured.reason is not None:
        return _row(variant, status=measured.reason, score_name=evaluator.score_name)
    quality = measured.judge.quality()
    figures: dict[str, Any] = {
        "quality": quality,
        "score": quality[evaluator.score_name],
        "score_name": evaluator.score_name,
        "parity_max_abs_diff": measured.comparer.comparison().difference,
        "memory_mib": mib(measured.memory_bytes),
        "end_to_end_ms": measured.whole.p50_ms if measured.whole else None,
    }
    return _row(variant, **measured.ran, **_speed(measured), **figures)


def _row(variant: Variant, **found: Any) -> VariantRow:
    declared = {"runtime": variant.runtime, "precision": variant.precision, "device": variant.device}
    size_mib = None if variant.size_bytes is None else mib(variant.size_bytes)
    return VariantRow.model_validate({"variant": variant.name, "size_mib": size_mib} | declared | found)


def _speed(measured: Measured) -> dict[str, float]:
    reports = [*measured.speed.values()]
    first, last = reports[0], reports[-1]
    return {
        "latency_p50_ms": first.p50_ms,
        "latency_p95_ms": first.p95_ms,
        "latency_p99_ms": first.p99_ms,
        "throughput_samples_per_second": last.throughput_samples_per_second,
        "speedup_vs_torch": measured.reference_p50_ms / first.p50_ms,
    }


def _latency_rows(measured: dict[str, Measured]) -> Iterable[LatencyRow]:
    for name, found in measured.items():
        for report in found.speed.values():
            yield LatencyRow(variant=name, **report.model_dump())


def _with_note(row: VariantRow) -> VariantRow:
    """Return what a reader may not expect: fp16 that ran in fp32, INT8 that gains nothing."""
    notes = []
    if row.computes_in not in ("", row.precision):
        notes.append(f"{row.runtime} has no {row.precision} kernels here: it computed in {row.computes_in}")
    if row.precision == "int8" and row.speedup_vs_torch is not None and row.speedup_vs_torch < _WANTED_INT8_SPEEDUP:
        notes.append(f"only {row.speedup_vs_torch:.1f} x torch ({_why_slow(row.device)})")
    return row.model_copy(update={"note": "; ".join(notes)})


def _why_slow(device: str) -> str:
    if device == "cpu" and not has_exact_int8():
        return "this CPU has no VNNI or AMX, so INT8 products cost about as much as float ones"
    return "element-wise layers and small tensors gain nothing from INT8"
