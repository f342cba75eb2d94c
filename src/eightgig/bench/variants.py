"""One table of all variants of a network: how right, how fast, how large, on the same inputs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from eightgig.bench.gates import judge
from eightgig.bench.latency import Call, LatencyReport, measure_calls, measure_latency, resized
from eightgig.bench.memory import growth_while
from eightgig.bench.parameters import GateParameters, LatencyParameters
from eightgig.bench.records import LatencyRow, VariantRow
from eightgig.core.device import resolve_device
from eightgig.core.errors import ConfigurationError, DataError, EightgigError
from eightgig.core.units import mib
from eightgig.export.cpu import has_exact_int8
from eightgig.export.runners import Arrays, Runner
from eightgig.export.task import Answer, Task, Truth

_WANTED_INT8_SPEEDUP = 1.5
LabelledBatch = tuple[Arrays, Sequence[Truth]]
"""Inputs by name as the network wants them, and what is right for each sample."""


@dataclass(frozen=True)
class Variant:
    """One way to run the network, not yet opened.

    Attributes:
        name: for the table, for example `onnx_int8_cpu`.
        runtime: for example `torch eager`, `ONNX Runtime`, `TensorRT`.
        precision: what it is meant to have; the row shows what the runner really has.
        device: where it is meant to run.
        open: gives the runner; an EightgigError that it raises becomes the row's status.
        size_bytes: of its file; None when it has none.
    """

    name: str
    runtime: str
    precision: str
    device: str
    open: Callable[[], Runner]
    size_bytes: int | None = None


@dataclass
class _Opened:
    """The variants that could be opened, what opening took, and why the others could not."""

    runners: dict[str, Runner] = field(default_factory=dict)
    memory_bytes: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def benchmark_variants(
    variants: Sequence[Variant],
    batches: Iterable[LabelledBatch],
    task: Task,
    *,
    latency: LatencyParameters,
    gates: GateParameters,
    whole_call: Callable[[Runner], Call] | None = None,
) -> tuple[list[VariantRow], list[LatencyRow]]:
    """Give a row a variant, in their order, judged by the gates; and a row a variant and batch size.

    Args:
        variants: the reference (torch eager, float32) first, then from simple to complex.
        batches: read once; all runners see each batch.
        task: reads, judges and compares what they give.
        latency: how speed is measured, on samples of the first batch.
        gates: what a variant must keep to be recommended.
        whole_call: gives, for a runner, the call from one stored sample to its answer; None leaves that out.

    Raises:
        DataError: no batch.
        EightgigError: what opening the reference raised.
    """
    if not variants:
        raise ConfigurationError("a benchmark wants at least 1 variant, the reference; found none")
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        raise DataError("a benchmark wants at least 1 batch of labelled images, found none")
    with ExitStack() as stack:
        opened = _open_all(variants, resized(first[0], max(latency.batch_sizes)), stack)
        answers, truths = _answer(opened.runners, task, first, remaining)
        speed = measure_latency(opened.runners, first[0], parameters=latency)
        calls = {name: whole_call(runner) for name, runner in opened.runners.items()} if whole_call else {}
        whole = measure_calls(calls, batch_size=1, parameters=latency)
    reference = variants[0].name
    rows = []
    for variant in variants:
        name = variant.name
        if name in opened.reasons:
            rows.append(_row(variant, status=opened.reasons[name], score_name=task.score_name))
            continue
        runner = opened.runners[name]
        figures: dict[str, Any] = _speed(speed[name], speed[reference])
        figures["quality"] = task.quality(answers[name], truths)
        figures["score"] = figures["quality"][task.score_name]
        figures["parity_max_abs_diff"] = task.compare(answers[reference], answers[name]).difference
        figures["memory_mib"] = mib(opened.memory_bytes[name])
        if name in whole:
            figures["end_to_end_ms"] = whole[name].p50_ms
        found = {
            "score_name": task.score_name,
            "precision": runner.precision,
            "computes_in": runner.computes_in,
            "device": runner.device,
        }
        rows.append(_row(variant, **found, **figures))
    return [_with_note(row) for row in judge(rows, gates)], list(_latency_rows(speed))


def _open_all(variants: Sequence[Variant], largest: Arrays, stack: ExitStack) -> _Opened:
    opened = _Opened()
    for variant in variants:
        try:
            runner, growth = growth_while(
                lambda variant=variant: _open_and_answer(variant, largest, stack),  # type: ignore[misc]
                on_gpu=variant.device.startswith("cuda") and resolve_device("auto") == "cuda",
            )
        except EightgigError as error:
            if variant is variants[0]:
                raise
            opened.reasons[variant.name] = str(error)
            continue
        opened.runners[variant.name], opened.memory_bytes[variant.name] = runner, growth
    return opened


def _open_and_answer(variant: Variant, largest: Arrays, stack: ExitStack) -> Runner:
    runner = stack.enter_context(variant.open())
    runner.run(largest)
    return runner


def _answer(
    runners: Mapping[str, Runner], task: Task, first: LabelledBatch, others: Iterable[LabelledBatch]
) -> tuple[dict[str, list[Answer]], list[Truth]]:
    answers: dict[str, list[Answer]] = {name: [] for name in runners}
    truths: list[Truth] = []
    for feeds, right in chain([first], others):
        truths.extend(right)
        for name, runner in runners.items():
            answers[name] += task.answers(runner.run(feeds))
    return answers, truths


def _row(variant: Variant, **found: Any) -> VariantRow:
    declared = {"runtime": variant.runtime, "precision": variant.precision, "device": variant.device}
    size_mib = None if variant.size_bytes is None else mib(variant.size_bytes)
    return VariantRow.model_validate({"variant": variant.name, "size_mib": size_mib} | declared | found)


def _speed(own: Mapping[int, LatencyReport], reference: Mapping[int, LatencyReport]) -> dict[str, float]:
    reports = [*own.values()]
    first, last = reports[0], reports[-1]
    return {
        "latency_p50_ms": first.p50_ms,
        "latency_p95_ms": first.p95_ms,
        "latency_p99_ms": first.p99_ms,
        "throughput_samples_per_second": last.throughput_samples_per_second,
        "speedup_vs_torch": next(iter(reference.values())).p50_ms / first.p50_ms,
    }


def _latency_rows(speed: Mapping[str, Mapping[int, LatencyReport]]) -> Iterable[LatencyRow]:
    for name, reports in speed.items():
        for report in reports.values():
            yield LatencyRow(variant=name, **report.model_dump())


def _with_note(row: VariantRow) -> VariantRow:
    """Say what a reader may not expect: fp16 that ran in fp32, INT8 that gains nothing."""
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
