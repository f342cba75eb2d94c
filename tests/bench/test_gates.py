"""Which variant is recommended, on tables written by hand."""

import pytest

from eightgig.bench.gates import judge
from eightgig.bench.parameters import GateParameters
from eightgig.bench.records import VariantRow


def row(name: str, latency_ms: float, *, score: float = 0.9, difference: float = 0.0, **other: str) -> VariantRow:
    declared = {"runtime": "r", "precision": "fp32", "computes_in": "fp32", "device": "cpu"} | other
    return VariantRow.model_validate(
        {"variant": name, "latency_p50_ms": latency_ms, "score": score, "parity_max_abs_diff": difference} | declared
    )


def recommended(*rows: VariantRow) -> list[str]:
    return [judged.variant for judged in judge(rows, GateParameters()) if judged.recommended]


def test_the_fastest_that_passes_is_recommended() -> None:
    assert recommended(row("torch", 20), row("onnx", 10), row("int8", 5, difference=0.3, precision="int8")) == ["int8"]


def test_a_more_complex_one_must_be_clearly_faster() -> None:
    assert recommended(row("torch", 20), row("onnx", 10), row("int8", 9.9, precision="int8")) == ["onnx"]
    # The one that is not worth its trouble is no step on the way either: 10 / 9.4 is more than 1.05.
    assert recommended(row("torch", 20), row("onnx", 10), row("a", 9.9), row("b", 9.4)) == ["b"]


def test_what_fails_is_never_recommended_however_fast() -> None:
    rows = (row("torch", 20), row("int8", 1, score=0.894, difference=0.3, precision="int8"))
    judged = judge(rows, GateParameters())
    assert (judged[1].passed, judged[1].gate) == (False, "score: -0.6 points, allowed -0.5 points")
    assert recommended(*rows) == ["torch"]


@pytest.mark.parametrize(
    ("found", "passed", "gate"),
    [
        (row("a", 1, score=0.895, difference=0.3, precision="int8"), True, "score: -0.5 points, allowed -0.5 points"),
        (row("a", 1, score=0.5, difference=9e-3, precision="fp16"), True, "parity: 9.0e-03 of 1e-02"),
        (row("a", 1, score=0.9, difference=9e-5), True, "parity: 9.0e-05 of 1e-04"),
        (row("a", 1, score=0.88, difference=2e-4), False, "score: -2.0 points, allowed -0.5 points"),
        (row("a", 1, score=0.95, difference=0.9), True, "score: +5.0 points, allowed -0.5 points"),
    ],
)  # fmt: skip
def test_parity_or_accuracy(found: VariantRow, passed: bool, gate: str) -> None:
    judged = judge([row("torch", 20), found], GateParameters())[1]
    assert (judged.passed, judged.gate) == (passed, gate)


def test_each_device_has_its_own() -> None:
    rows = (row("torch", 20), row("onnx", 10), row("torch_cuda", 5, device="cuda:0"), row("engine", 1, device="cuda:0"))
    assert recommended(*rows) == ["onnx", "engine"]


def test_what_did_not_run_is_not_judged() -> None:
    engine = VariantRow(variant="engine", runtime="TensorRT", precision="fp16", device="cuda:0", status="no GPU")
    judged = judge([row("torch", 20), engine], GateParameters())[1]
    assert (judged.passed, judged.gate, judged.recommended) == (None, "", False)
