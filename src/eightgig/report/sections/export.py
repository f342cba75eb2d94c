"""The report's sections on the exported files: which to use, what they cost, how INT8 was chosen, what was built."""

from collections.abc import Iterator

from eightgig.core.units import mib
from eightgig.export.int8.records import Int8Candidate, QuantizationReport
from eightgig.export.parity import ParityTable
from eightgig.report.annotations import Figure, Table
from eightgig.report.page import Chart, Folded, Section
from eightgig.report.page import Table as PageTable

_COLUMNS = {
    "variant": "variant",
    "runs_on": "runs on",
    "computes": "precision",
    "score": "score",
    "latency_p50_ms": "p50 ms",
    "speedup_vs_torch": "x torch",
    "size_mib": "file, MiB",
    "verdict": "gate",
    "remark": "remark",
}
_SPEED_COLUMNS = {
    "variant": "variant",
    "latency_p50_ms": "p50 ms",
    "latency_p95_ms": "p95 ms",
    "latency_p99_ms": "p99 ms",
    "end_to_end_ms": "{unit} to answer, ms",
    "memory_mib": "memory, MiB",
}
_FORMATS = {
    "p50 ms": ".2f",
    "p95 ms": ".2f",
    "p99 ms": ".2f",
    "x torch": ".2f",
    "memory, MiB": ".0f",
    "file, MiB": ".1f",
}
_MOST_LAYERS = 12


def variants_section(
    benchmark: Table, latency: Table, parity: ParityTable, speed: Figure, unit: str = "image"
) -> Section:
    """Show every form of the network, the ones that could not be made included, and which one to use."""
    from eightgig.report.sections.training import judged_on

    judged = judged_on(benchmark, unit)
    score_name, ran = str(benchmark["score_name"].iloc[0]), benchmark["status"] == "ok"
    return Section(
        f"Speed against {score_name}",
        "\n\n".join(
            [
                *_recommendations(benchmark),
                "All variants saw the same inputs and ran in turn, so their ratios hold on a busy machine. One is "
                f"recommended only if it passes (its probabilities stay near torch's, or its {score_name} does) and "
                "is faster than every simpler one. A variant that could not run says why."
                + (f" The scores here are of each variant{judged}." if judged else ""),
            ]
        ),
        [
            Chart(speed),
            PageTable.from_frame(
                _variant_table(benchmark[ran]), caption="Every variant", formats={**_FORMATS, score_name: ".2%"}
            ),
            *_not_run(benchmark[~ran]),
            PageTable.from_frame(
                _speed_table(benchmark, latency, unit),
                caption="Time and memory of those that ran",
                formats=_FORMATS | {_SPEED_COLUMNS["end_to_end_ms"].format(unit=unit): ".2f"},
            ),
            PageTable(
                ("file", "largest difference of a probability", "same answer as torch", f"{unit}s", "verdict"),
                list(_compared(parity)),
                f"Held against torch on held-out {unit}s: the largest difference is the tolerance that a file would "
                "have needed. INT8 rounds, so its score above decides",
            ),
        ],
    )


def int8_section(quantization: QuantizationReport, unit: str = "image") -> Section:
    """Show how both INT8 files were chosen."""
    gate = 100 * quantization.max_drop
    prose = (
        f"Ranges come from {quantization.num_calibration_samples} training {unit}s; recipes were judged on "
        f"{_judged_on_validation(quantization)} {unit}s (float32: {quantization.reference_score:.2%}), and the fastest "
        f"within {gate:g} points is taken. "
        "One file cannot be both legal for TensorRT and fast on a CPU, so there are two from one calibration."
    )
    failed = [c.recipe.target for c in (quantization.int8_cpu, quantization.int8_trt) if not c.passed]
    if failed:
        prose += f"\n\nNo recipe kept the gate for {' and '.join(failed)}: the most accurate is given."
    layers = [
        (layer.layer, layer.operator, layer.target, f"{layer.divergence:.2e}", "float" if layer.kept_float else "INT8")
        for layer in quantization.sensitivity[:_MOST_LAYERS]
    ]
    kept = PageTable(
        ("layer", "operator", "file", "error power it alone causes", "kept in"), layers, "The most sensitive layers"
    )
    tried = PageTable(
        ("file", "method", "weights", "quantized", "layers in float", "score", "time against float32", "MiB", ""),
        [_candidate(candidate) for candidate in quantization.candidates],
        "Every recipe that was tried",
    )
    return Section("How INT8 was chosen", prose, [tried, *([Folded("Sensitivity by layer", [kept])] if layers else [])])


def _judged_on_validation(quantization: QuantizationReport) -> str:
    judged, known = quantization.num_judged_samples, quantization.num_validation_samples
    if judged is None or known is None:
        return "validation"
    return f"{judged:,} validation" if judged == known else f"{judged:,} of the {known:,} validation"


def engines_section(engines: Table) -> Section:
    """Show which TensorRT engines were made, for which card, and what their layers compute in."""
    names = {
        "built_for": "built for",
        "layers": "matrix layers",
        "changed": "not as in the file",
        "build_seconds": "seconds",
        "size_mib": "MiB",
    }
    return Section(
        "TensorRT engines",
        "The precision of each layer is read back from the builder's own report. An engine is bound by its manifest to "
        "the TensorRT version, the card, the driver and the ONNX file; on another it is refused and built again.",
        [PageTable.from_frame(engines.rename(columns=names), formats={"seconds": ".1f", "MiB": ".1f"})],
    )


def _recommendations(benchmark: Table) -> Iterator[str]:
    for _, row in benchmark[benchmark["recommended"]].iterrows():
        place = "CPU" if row["device"] == "cpu" else "GPU"
        yield (
            f"Recommended on this {place}: {row['variant']}, {row['speedup_vs_torch']:.1f} x torch eager in float32 "
            f"({row['gate']})."
        )


def _not_run(benchmark: Table) -> Iterator[Folded]:
    if len(benchmark):
        left_out = benchmark[["variant", "runtime", "device", "precision", "status"]]
        table = PageTable.from_frame(left_out.rename(columns={"runtime": "runs on", "status": "why not"}))
        yield Folded(f"Variants that could not run here: {len(benchmark)}", [table])


def _variant_table(benchmark: Table) -> Table:
    """Return the columns that a person compares, in their words."""
    words = benchmark[["status", "note", "gate", "computes_in"]].astype("string").fillna("")
    other = (words["computes_in"] != "") & (words["computes_in"] != benchmark["precision"])
    verdict = benchmark["passed"].map({True: "passed", False: "failed"}).fillna("")
    table = benchmark.assign(
        remark=words["status"].where(words["status"] != "ok", words["note"]),
        runs_on=benchmark["runtime"] + ", " + benchmark["device"],
        computes=benchmark["precision"].where(
            ~other, benchmark["precision"] + " (ran in " + words["computes_in"] + ")"
        ),
        verdict=(verdict + "; " + words["gate"]).where(words["gate"] != "", ""),
        variant=benchmark["variant"].where(~benchmark["recommended"], "★ " + benchmark["variant"]),
    )
    score_name = str(benchmark["score_name"].iloc[0])
    return table[list(_COLUMNS)].rename(columns={**_COLUMNS, "score": score_name})


def _speed_table(benchmark: Table, latency: Table, unit: str) -> Table:
    """Return the times of one call, and samples a second by batch size."""
    wide = latency.pivot_table(
        index="variant", columns="batch_size", values="throughput_samples_per_second", sort=False
    ).round(1)
    wide.columns = [f"samples/s at batch {size}" for size in wide.columns]
    ran = benchmark.loc[benchmark["status"] == "ok", list(_SPEED_COLUMNS)]
    names = {column: name.format(unit=unit) for column, name in _SPEED_COLUMNS.items()}
    return ran.merge(wide.reset_index(), on="variant", how="left").rename(columns=names)


def _compared(parity: ParityTable) -> Iterator[tuple[str, str, str, int, str]]:
    for name, report in parity.reports.items():
        yield (
            name,
            f"{report.max_abs_diff_probabilities:.2e}",
            f"{report.agreement:.1%}",
            report.num_inputs,
            f"{'within' if report.passed else 'beyond'} {report.tolerance:.0e}",
        )


def _candidate(candidate: Int8Candidate) -> tuple[str | int, ...]:
    recipe = candidate.recipe
    marks = [
        word for word, holds in (("chosen", candidate.chosen), ("best of its kind", candidate.on_pareto)) if holds
    ] + ([] if candidate.passed else ["beyond the gate"])
    return (
        recipe.target,
        recipe.method,
        recipe.weight_type,
        "all operators" if recipe.operators == "all" else "matrix layers",
        len(recipe.float_layers),
        f"{candidate.score:.2%} ({-100 * candidate.drop:+.1f})",
        "" if candidate.latency_ratio is None else f"{candidate.latency_ratio:.2f}",
        f"{mib(candidate.size_bytes):.1f}",
        ", ".join(marks),
    )
