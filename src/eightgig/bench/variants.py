"""One table of all variants of a classifier: how right, how fast, how large, on the same inputs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eightgig.bench.classification import evaluate
from eightgig.bench.latency import LatencyReport, measure_latency
from eightgig.bench.parameters import LatencyParameters
from eightgig.bench.records import ClassificationReport
from eightgig.core.errors import ConfigurationError, DataError, EightgigError
from eightgig.core.records import Record
from eightgig.core.units import mib
from eightgig.export.cpu import has_exact_int8
from eightgig.export.runners import Images, Runner, softmax

_WANTED_INT8_SPEEDUP = 1.5
_ALLOWED_INT8_DROP = 0.01


@dataclass(frozen=True)
class Variant:
    """One way to run the classifier, not yet opened.

    Attributes:
        name: for the table, for example `onnx_int8`.
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


class VariantRow(Record):
    """One row of the table; a variant that cannot run has its reason as status and None for every figure.

    Attributes:
        variant: its name.
        runtime: what runs it.
        precision: as found in the runner.
        device: where it ran.
        status: `ok`, or why there are no figures and what to do.
        accuracy: 0 to 1, on the evaluated images.
        top5_accuracy: as in ClassificationReport, with min(5, classes).
        macro_f1: 0 to 1.
        latency_p50_ms: one call of the first batch size.
        latency_p95_ms: the same.
        throughput_images_per_second: at the last batch size.
        size_mib: of its file.
        speedup_vs_torch: the reference's latency by this one's.
        parity_max_abs_diff: largest difference of any probability from the reference's.
        note: what a reader should know; empty when nothing.
    """

    variant: str
    runtime: str
    precision: str
    device: str
    status: str = "ok"
    accuracy: float | None = None
    top5_accuracy: float | None = None
    macro_f1: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    throughput_images_per_second: float | None = None
    size_mib: float | None = None
    speedup_vs_torch: float | None = None
    parity_max_abs_diff: float | None = None
    note: str = ""


def benchmark_variants(
    variants: Sequence[Variant],
    batches: Iterable[tuple[Images, NDArray[np.integer]]],
    classes: Sequence[str],
    *,
    latency: LatencyParameters,
) -> list[VariantRow]:
    """Give a row a variant, in their order; the first variant is the reference and must run.

    Args:
        variants: the reference (torch eager, float32) and the others.
        batches: (images_N3HW as the network wants them, labels_N), read once; all runners see each batch.
        classes: names in the order of the logits.
        latency: how speed is measured, on images of the first batch.

    Raises:
        DataError: no batch.
        EightgigError: what opening the reference raised.
    """
    if not variants:
        raise ConfigurationError("a benchmark wants at least 1 variant, the reference; found none")
    with ExitStack() as stack:
        runners, reasons = _open_all(variants, stack)
        answers, labels_N, first_images = _answer(runners, batches)
        speed = measure_latency(runners, first_images, parameters=latency)
    reference = variants[0].name
    rows = []
    for variant in variants:
        name = variant.name
        if name in reasons:
            rows.append(_row(variant, status=reasons[name]))
            continue
        difference = float(np.abs(answers[name] - answers[reference]).max())
        quality = _quality(evaluate(answers[name], labels_N, classes)[0])
        figures = quality | _speed(speed[name], speed[reference]) | {"parity_max_abs_diff": difference}
        rows.append(_row(variant, precision=runners[name].precision, device=runners[name].device, **figures))
    return [_with_note(row, rows[0]) for row in rows]


def _open_all(variants: Sequence[Variant], stack: ExitStack) -> tuple[dict[str, Runner], dict[str, str]]:
    runners: dict[str, Runner] = {}
    reasons: dict[str, str] = {}
    for variant in variants:
        try:
            runners[variant.name] = stack.enter_context(variant.open())
        except EightgigError as error:
            if variant is variants[0]:
                raise
            reasons[variant.name] = str(error)
    return runners, reasons


def _answer(
    runners: Mapping[str, Runner], batches: Iterable[tuple[Images, NDArray[np.integer]]]
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.integer], Images]:
    answers: dict[str, list[NDArray[np.float64]]] = {name: [] for name in runners}
    labels: list[NDArray[np.integer]] = []
    first_images: Images | None = None
    for images_N3HW, labels_N in batches:
        first_images = images_N3HW if first_images is None else first_images
        labels.append(labels_N)
        for name, runner in runners.items():
            answers[name].append(softmax(runner.run(images_N3HW)))
    if first_images is None:
        raise DataError("a benchmark wants at least 1 batch of labelled images, found none")
    return {name: np.concatenate(parts) for name, parts in answers.items()}, np.concatenate(labels), first_images


def _row(variant: Variant, **found: str | float) -> VariantRow:
    declared = {"runtime": variant.runtime, "precision": variant.precision, "device": variant.device}
    size_mib = None if variant.size_bytes is None else mib(variant.size_bytes)
    return VariantRow.model_validate({"variant": variant.name, "size_mib": size_mib} | declared | found)


def _quality(report: ClassificationReport) -> dict[str, float]:
    return {"accuracy": report.accuracy, "top5_accuracy": report.top5_accuracy, "macro_f1": report.macro_f1}


def _speed(own: Mapping[int, LatencyReport], reference: Mapping[int, LatencyReport]) -> dict[str, float]:
    reports = [*own.values()]
    first, last = reports[0], reports[-1]
    return {
        "latency_p50_ms": first.p50_ms,
        "latency_p95_ms": first.p95_ms,
        "throughput_images_per_second": last.throughput_images_per_second,
        "speedup_vs_torch": next(iter(reference.values())).p50_ms / first.p50_ms,
    }


def _with_note(row: VariantRow, reference: VariantRow) -> VariantRow:
    """Say it where INT8 is not worth it, and why."""
    if row.precision != "int8" or None in (row.accuracy, row.speedup_vs_torch, reference.accuracy):
        return row
    drop = (reference.accuracy or 0.0) - (row.accuracy or 0.0)
    notes = []
    if (row.speedup_vs_torch or 0.0) < _WANTED_INT8_SPEEDUP:
        notes.append(f"only {row.speedup_vs_torch:.1f} x torch ({_why_slow(row.device)})")
    if drop > _ALLOWED_INT8_DROP + 1e-9:
        notes.append(f"accuracy falls by {100 * drop:.1f} points: calibrate on more images, or keep the float variant")
    return row.model_copy(update={"note": "; ".join(notes)})


def _why_slow(device: str) -> str:
    if device == "cpu" and not has_exact_int8():
        return "this CPU has no VNNI or AMX, so INT8 products cost about as much as float ones"
    return "element-wise layers and small tensors gain nothing from INT8"
