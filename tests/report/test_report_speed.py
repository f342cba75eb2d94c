import pandas as pd
import pytest

from eightgig.report.speed import speed_against_score


def names(figure):
    return [trace.name for trace in figure.data]


def test_variants_that_could_not_run_are_listed_not_drawn():
    benchmark = pd.DataFrame(
        {
            "variant": ["torch", "int8", "engine_fp16", "engine_int8"],
            "score": [0.95, 0.94, None, None],
            "latency_p50_ms": [20.0, 4.0, None, None],
            "latency_p95_ms": [25.0, None, None, None],
            "size_mib": [16.0, 4.0, None, None],
        }
    )
    figure = speed_against_score(benchmark)
    assert names(figure) == ["torch", "int8"]
    assert figure.data[0].marker.size == pytest.approx(12 + 22)
    assert figure.data[1].marker.size == pytest.approx(12 + 22 / 2)  # a quarter of the size: half the width
    assert list(figure.data[0].error_x.array) == [5.0]
    assert [note.text for note in figure.layout.annotations] == ["not run: engine_fp16, engine_int8"]


def test_the_recommended_one_is_ringed_and_named_and_a_failed_one_is_hollow():
    benchmark = pd.DataFrame(
        {
            "variant": ["torch", "onnx", "int8"],
            "score": [0.95, 0.95, 0.80],
            "latency_p50_ms": [20.0, 8.0, 4.0],
            "passed": [True, True, False],
            "recommended": [False, True, False],
        }
    )
    torch, onnx, int8 = speed_against_score(benchmark).data
    assert [trace.mode for trace in (torch, onnx, int8)] == ["markers", "markers+text", "markers"]
    assert onnx.text == ("<b>recommended: onnx</b>",)
    assert onnx.marker.line.width > torch.marker.line.width
    assert (int8.name, int8.marker.symbol) == ("int8 (failed its gate)", "circle-open")


def test_more_variants_than_colours_differ_in_shape():
    benchmark = pd.DataFrame({"variant": [f"v{i}" for i in range(10)], "score": 0.9, "latency_p50_ms": 1.0})
    looks = {(trace.marker.color, trace.marker.symbol) for trace in speed_against_score(benchmark).data}
    assert len(looks) == 10


def test_a_benchmark_with_nothing_that_ran_is_still_a_figure():
    benchmark = pd.DataFrame({"variant": ["a"], "score": [None], "latency_p50_ms": [None]}, dtype=object)
    assert names(speed_against_score(benchmark)) == []


def test_latencies_far_apart_stand_on_a_logarithmic_axis():
    far = pd.DataFrame({"variant": ["a", "b"], "score": [0.9, 0.9], "latency_p50_ms": [1.0, 100.0]})
    assert speed_against_score(far).layout.xaxis.type == "log"
