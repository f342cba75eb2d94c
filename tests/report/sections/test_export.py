"""What a reader sees of the exported files, on tables written by hand."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from eightgig.bench.records import LatencyRow, VariantRow
from eightgig.export.int8.records import Int8Candidate, Int8Recipe, LayerSensitivity, QuantizationReport
from eightgig.export.parity import ParityReport, ParityTable
from eightgig.models.compression import CompressedForm, CompressionReport
from eightgig.report.html import render_page
from eightgig.report.page import Page
from eightgig.report.sections.compression import compression_section
from eightgig.report.sections.export import engines_section, int8_section, variants_section
from eightgig.report.sections.training import judged_on
from eightgig.stages.engines import precision_of


def variant(name: str, latency_ms: float | None = None, **other: object) -> VariantRow:
    ran = {"latency_p50_ms": latency_ms, "score": 0.9, "speedup_vs_torch": 2.0, "size_mib": 12.0, "passed": True}
    declared = {
        "runtime": "ONNX Runtime",
        "precision": "fp32",
        "computes_in": "fp32",
        "device": "cpu",
        "score_name": "accuracy",
    }
    return VariantRow.model_validate({"variant": name} | declared | (ran if latency_ms else {}) | other)


@pytest.fixture
def benchmark() -> pd.DataFrame:
    rows = [
        variant("torch_cpu", 20.0, runtime="torch eager", gate="parity: 0.0e+00 of 1e-04"),
        variant("onnx_fp32", 8.0, recommended=True, gate="parity: 1.0e-06 of 1e-04"),
        variant("onnx_fp16", 9.0, precision="fp16", note="computed in fp32"),
        variant("onnx_int8_cpu", 6.0, precision="int8", score=0.8, passed=False, gate="accuracy: -10.0 points"),
        variant("onnx_pruned_fp32", 4.0, score=0.89),
        variant("engine_fp16", status="built for sm_86; running it waits for a GPU", device="cuda"),
    ]
    return pd.DataFrame([row.model_dump() for row in rows])


def cells(section, position):
    table = section.blocks[position]
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_the_recommended_variant_is_named_and_every_row_says_what_ran(benchmark):
    latency = pd.DataFrame(
        [
            LatencyRow(
                variant="torch_cpu", batch_size=size, num_runs=9, p50_ms=1, p95_ms=1, p99_ms=1, min_ms=1,
                throughput_samples_per_second=size * 50.0,
            ).model_dump()
            for size in (1, 16)
        ]
    )  # fmt: skip
    parity = ParityReport(
        reference="torch fp32", candidate="onnx fp16", num_inputs=8, max_abs_diff_probabilities=2e-3,
        max_abs_diff_outputs=0.1, agreement=1.0, tolerance=1e-2, passed=True, margin=8e-3,
    )  # fmt: skip
    section = variants_section(benchmark, latency, ParityTable(reports={"onnx_fp16": parity}), go.Figure())
    assert (
        "Recommended on this CPU: onnx_fp32, 2.0 x torch eager in float32 (parity: 1.0e-06 of 1e-04)." in section.prose
    )
    page = render_page(Page(title="t", subtitle="s", headline=[], sections=[section], footer="f"))
    for text in ("★ onnx_fp32", "fp16 (ran in fp32)", "failed; accuracy: -10.0 points", "waits for a GPU"):
        assert text in page
    rows = cells(section, 1)
    assert rows[0]["p50 ms"] == "20.00"
    assert rows[3]["accuracy"] == "80.00%"
    left_out: Any = section.blocks[2]
    assert left_out.summary == "Variants that could not run here: 1"
    assert left_out.blocks[0].rows[0][-1] == "built for sm_86; running it waits for a GPU"
    speed = cells(section, 3)
    assert [row["variant"] for row in speed] == [row["variant"].lstrip("★ ") for row in rows]
    assert speed[0]["samples/s at batch 1"] == 50.0
    assert speed[0]["samples/s at batch 16"] == 800.0
    assert cells(section, 4)[0]["verdict"] == "within 1e-02"


def test_int8_shows_each_recipe_and_says_when_the_gate_was_not_kept():
    recipe = Int8Recipe(target="int8_cpu", method="minmax", weight_type="int7", float_layers=("conv",))
    failed = Int8Candidate(
        recipe=recipe, score=0.8, drop=0.1, latency_ratio=0.5, size_bytes=2**20, passed=False, chosen=True
    )
    for_trt = failed.model_copy(
        update={"recipe": recipe.model_copy(update={"target": "int8_trt"}), "passed": True, "latency_ratio": None}
    )
    layer = LayerSensitivity(target="int8_cpu", layer="conv", operator="Conv", divergence=0.25, kept_float=True)
    report = QuantizationReport(
        reference_score=0.9, max_drop=0.005, num_calibration_samples=64, int8_cpu=failed, int8_trt=for_trt,
        candidates=(failed, for_trt), sensitivity=(layer,), passed=False,
    )  # fmt: skip
    section = int8_section(report)
    assert "No recipe kept the gate for int8_cpu: the most accurate is given." in section.prose
    first, second = cells(section, 0)
    assert (first["score"], first["time against float32"], first[""]) == (
        "80.00% (-10.0)",
        "0.50",
        "chosen, beyond the gate",
    )
    assert (second["file"], second["time against float32"], second[""]) == ("int8_trt", "", "chosen")
    page = render_page(Page(title="t", subtitle="s", headline=[], sections=[section], footer="f"))
    assert "2.50e-01" in page


def test_compression_stands_beside_the_whole_network_alone_and_with_int8(benchmark):
    form = CompressedForm(
        name="pruned", model="timm/x", num_parameters=1_000_000, flops=200_000_000, parameters_share=0.5,
        flops_share=0.6, val_score=0.9, best_epoch=1, epochs=1, seconds=3.0, micro_batch=16,
        predicted_bytes=2**30, measured_bytes=2**29,
    )  # fmt: skip
    report = CompressionReport(
        model="timm/x", image_size=64, num_parameters=2_000_000, flops=333_000_000, val_score=0.9, forms=(form,)
    )
    rows = {row["form"]: row for row in cells(compression_section(report, benchmark), 0)}
    assert list(rows) == ["onnx_fp32", "onnx_int8_cpu", "onnx_pruned_fp32", "onnx_pruned_int8_cpu"]
    pruned = rows["onnx_pruned_fp32"]
    assert (pruned["points"], pruned["x ONNX float32"]) == ("-1.0", "2.00")
    assert (pruned["parameters"], pruned["FLOPs per image"]) == ("1.00 M (50%)", "0.200 G (60%)")
    assert pruned["training memory: predicted, measured"] == "1.0 GiB, 512.0 MiB"
    assert rows["onnx_pruned_int8_cpu"]["accuracy (test)"] == ""  # it has no row in the benchmark
    empty = compression_section(report.model_copy(update={"forms": ()}), benchmark)
    assert "No smaller form was asked for" in empty.prose


def test_engines_that_could_not_be_built_say_why():
    table = pd.DataFrame([{"variant": "engine_fp16", "status": "TensorRT is not installed", "build_seconds": None}])
    page = render_page(Page(title="t", subtitle="s", headline=[], sections=[engines_section(table)], footer="f"))
    assert "TensorRT is not installed" in page


@pytest.mark.parametrize(
    ("name", "precision"),
    [("onnx_fp16", "fp16"), ("onnx_int8_trt", "int8"), ("student_int8_cpu", "int8"), ("engine_fp32", "fp32")],
)
def test_a_name_claims_a_precision(name, precision):
    assert precision_of(name) == precision


def test_a_page_of_texts_speaks_of_texts_and_says_on_how_many_a_score_is(benchmark):
    """The head of a page said 82.2 % of all texts and 87.5 % of its recommended form on a part of them."""
    judged = benchmark.assign(judged_on=64, held_out=360)
    assert judged_on(judged, "text") == " (torch 90.0%) on 64 of the 360 test texts"
    assert judged_on(benchmark.assign(judged_on=64, held_out=64), "text") == " on the 64 test texts"
    assert judged_on(benchmark, "text") == ""
    latency = pd.DataFrame({"variant": ["torch_cpu"], "batch_size": [1], "throughput_samples_per_second": [9.0]})
    section = variants_section(judged, latency, ParityTable(reports={}), go.Figure(), "text")
    page = render_page(Page(title="t", subtitle="s", headline=[], sections=[section], footer="f"))
    assert "The scores here are of each variant (torch 90.0%) on 64 of the 360 test texts." in page
    assert "text to answer, ms" in page
    assert "image" not in page.partition("<body")[2].partition("<script")[0]


@pytest.mark.parametrize(
    ("case", "unit"),
    [("sentiment_classifier", "text"), ("text_generator", "block"), ("object_detector", "image"),
     ("semantic_segmenter", "image"), ("image_classifier", "image"), ("flower_classifier", "image")],
)  # fmt: skip
def test_every_case_says_what_a_sample_is(case, unit):
    from importlib import import_module

    pipeline = import_module(f"eightgig.pipelines.{case}").create_pipeline()
    (page,) = [node for node in pipeline.nodes if node.name.endswith("write_page")]
    assert page.func.__wrapped__.__self__.unit == unit


def test_the_head_of_a_page_has_the_unit_and_the_number(benchmark):
    from types import SimpleNamespace as Made

    from eightgig.report.page import Fact
    from eightgig.report.sections.training import headline

    measured = Made(peak_bytes=1)
    trace: Any = Made(phases=[Made(measured=measured, predicted_bytes=1)])
    card: Any = Made(model="m", num_parameters=1)
    plan: Any = Made(budget_bytes=8, device="cpu")
    judged = benchmark.assign(judged_on=64, held_out=360)
    facts = headline(Fact("Accuracy", "90%"), card, plan, trace, judged, "text")
    assert facts[-1].note == "8.0 ms per text, 2.0 x torch, accuracy 90.0% (torch 90.0%) on 64 of the 360 test texts"
