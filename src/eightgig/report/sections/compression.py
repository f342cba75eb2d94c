"""The report's section on compression: what each smaller form costs and gains, alone and together with INT8."""

from collections.abc import Iterator
from typing import Any

from eightgig.core.units import format_bytes
from eightgig.models.compression import CompressionReport
from eightgig.report.annotations import Table
from eightgig.report.page import Section
from eightgig.report.page import Table as PageTable

Rows = dict[str, dict[Any, Any]]
_NAMES = {"pruned": "pruning", "student": "distillation", "pruned_distilled": "pruning + distillation"}
_HEADER = (
    "form",
    "by",
    "{score} (test)",
    "points",
    "p50 ms",
    "x ONNX float32",
    "file, MiB",
    "parameters",
    "FLOPs per {unit}",
    "training memory: predicted, measured",
)


def compression_section(compression: CompressionReport, benchmark: Table, unit: str = "image") -> Section:
    """Show the trained network, each smaller form, and both in INT8, on the same test samples and device."""
    from eightgig.report.sections.training import judged_on

    if not compression.forms:
        return Section("Compression", "No smaller form was asked for (compress.forms).", [])
    judged = judged_on(benchmark, unit)
    prose = (
        "Pruning removes whole channels, so the network is smaller for every runtime; then it is trained again. A "
        "distilled student learns from the trained network's answers beside the labels. Each is measured alone and "
        "with INT8 on top, in ONNX Runtime on the CPU." + (f" The scores are of each form{judged}." if judged else "")
    )
    header = [title.format(score=compression.score_name, unit=unit) for title in _HEADER]
    measured = {str(row["variant"]): row for row in benchmark.to_dict("records")}
    return Section("Compression", prose, [PageTable(header, list(_rows(compression, measured)))])


def _rows(compression: CompressionReport, measured: Rows) -> Iterator[tuple[str, ...]]:
    whole = _size(compression.num_parameters, 1.0, compression.flops, 1.0)
    yield ("onnx_fp32", "-", *_figures("onnx_fp32", measured), *whole, "")
    yield ("onnx_int8_cpu", "INT8", *_figures("onnx_int8_cpu", measured), *whole, "")
    for form in compression.forms:
        size = _size(form.num_parameters, form.parameters_share, form.flops, form.flops_share)
        memory = f"{format_bytes(form.predicted_bytes)}, {format_bytes(form.measured_bytes)}"
        name, by = f"onnx_{form.name}", _NAMES[form.name]
        yield (f"{name}_fp32", by, *_figures(f"{name}_fp32", measured), *size, memory)
        yield (f"{name}_int8_cpu", f"{by} + INT8", *_figures(f"{name}_int8_cpu", measured), *size, "")


def _size(num_parameters: int, parameters_share: float, flops: int, flops_share: float) -> tuple[str, str]:
    return (
        f"{num_parameters / 1e6:.2f} M ({parameters_share:.0%})",
        f"{flops / 1e9:.3f} G ({flops_share:.0%})",
    )


def _figures(variant: str, measured: Rows) -> tuple[str, str, str, str, str]:
    """Return the score, points lost, milliseconds, how many times ONNX float32, and MiB; empty where it did not run."""
    row, whole, reference = (measured.get(name, {}) for name in (variant, "onnx_fp32", "torch_cpu"))
    if any(found.get("status") != "ok" for found in (row, whole, reference)):
        return ("", "", "", "", "")
    return (
        f"{row['score']:.2%}",
        f"{100 * (row['score'] - reference['score']):+.1f}",
        f"{row['latency_p50_ms']:.2f}",
        f"{whole['latency_p50_ms'] / row['latency_p50_ms']:.2f}",
        f"{row['size_mib']:.1f}",
    )
