"""The few figures and lines that stand first on a run's page, whatever a run has made."""

import pandas as pd
import pytest
from tests.plans import make_plan

from eightgig.core.records import Record
from eightgig.core.units import GIB
from eightgig.hooks.run_page import MainFigures, RunPage, all_figures, main_figures
from eightgig.report.page import Fact, Page
from eightgig.vram.plan import PhaseMemory
from eightgig.vram.runtime.measure import MeasuredPhase
from eightgig.vram.trace import VramTrace


class Score(Record):
    accuracy: float
    loss: float


def trace(device, **peaks):
    measured = MeasuredPhase(
        phase="train", device=device, seconds=3, peak_resident_bytes=9 * GIB, resident_growth_bytes=GIB, **peaks
    )
    predicted = (PhaseMemory(phase="train", device=device, parameters=GIB, activations=4 * GIB),)
    return VramTrace.of(make_plan(device=device, predicted=predicted), (measured,))


def test_of_a_trace_they_are_the_peaks_of_training():
    on_cuda = trace("cuda", peak_allocated_bytes=4 * GIB, peak_reserved_bytes=6 * GIB)
    assert main_figures("vram_trace", on_cuda).numbers == {
        "peak_memory_predicted_gib": 5.0, "peak_memory_measured_gib": 4.0
    }  # fmt: skip


def test_on_the_cpu_a_peak_is_not_called_measured():
    found = main_figures("vram_trace", trace("cpu")).numbers
    assert found == {"peak_memory_predicted_gib": 5.0, "peak_memory_growth_of_process_gib": 1.0}


def test_of_a_record_they_are_what_its_catalog_entry_names():
    score = Score(accuracy=0.5, loss=1)
    assert main_figures("metrics", score, ["accuracy"]).numbers == {"accuracy": 0.5}
    assert main_figures("metrics", score) == MainFigures({}, {})
    assert all_figures(score) == {"accuracy": 0.5, "loss": 1.0}


def test_of_a_benchmark_they_are_the_recommended_forms():
    rows = pd.DataFrame(
        {
            "variant": ["onnx_int8", "torch_cpu", "torch_cuda"],
            "device": ["cpu", "cpu", "cuda:0"],
            "recommended": [True, False, True],
            "latency_p50_ms": [3.0, 9.0, 1.0],
        }
    )
    assert main_figures("benchmark_table", rows) == MainFigures(
        {"latency_cpu_ms": 3.0, "latency_cuda_ms": 1.0},
        {"recommended_cpu": "onnx_int8", "recommended_cuda": "torch_cuda"},
    )
    assert main_figures("benchmark_table", rows[["variant", "device"]]) == MainFigures()


@pytest.fixture
def report():
    facts = [Fact("Accuracy on 78 held-out images", "94.2 %", "top-5 99 %"), Fact("Model", "a|b")]
    return Page("Flowers", "EfficientNet on flowers.", headline=facts, sections=[])


def test_without_a_page_a_description_says_the_figures():
    page = RunPage("case", "plan, train")
    page.add("metrics", None, MainFigures({"accuracy": 0.123456}, {"recommended_cpu": "onnx_int8"}))
    assert page.description().splitlines() == [
        "**case**",
        "",
        "Stages: plan, train.",
        "",
        "| | | |",
        "|---|---|---|",
        "| accuracy | 0.1235 |  |",
        "| recommended cpu | onnx_int8 |  |",
    ]


def test_with_a_page_a_description_says_its_headline(report):
    page = RunPage("case", "plan, train")
    page.add("metrics", None, MainFigures({"accuracy": 0.123456}))
    page.add("report", report, MainFigures())
    page.add("other", None, MainFigures({"late": 1.0}))
    assert page.description().splitlines() == [
        "**Flowers**",
        "",
        "EfficientNet on flowers.",
        "",
        "| | | |",
        "|---|---|---|",
        "| Accuracy on 78 held-out images | 94.2 % | top-5 99 % |",
        "| Model | a\\|b |  |",
        "",
        "The page with all of it: artifact `report/report.html`.",
    ]


def test_a_run_that_makes_nothing_says_what_it_is():
    assert RunPage("case", "").description() == "**case**"
