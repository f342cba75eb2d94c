import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from eightgig.core.errors import ExportError
from eightgig.export.cpu import has_exact_int8, weight_types_for
from eightgig.export.int8.lint import lint_int8_cpu, lint_int8_trt
from eightgig.export.int8.parameters import QuantizeParameters
from eightgig.export.int8.records import Int8Candidate, Int8Recipe
from eightgig.export.int8.search import mark, search_int8
from eightgig.export.onnx import load_onnx, read_card
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
from eightgig.export.precision import layer_precisions, require_precision
from eightgig.export.runners import Runner

Images = NDArray[np.float32]


def agreement_with(onnx_file: bytes, images_N3HW: Images) -> Callable[[Runner], float]:
    with OnnxRuntimeRunner(onnx_file, num_threads=1) as runner:
        right = runner.run({"images": images_N3HW})["logits"]

    def judge(runner: Runner) -> float:
        error = np.square(runner.run({"images": images_N3HW})["logits"] - right).mean() / right.var()
        return float(1 - error)

    return judge


def parameters(**chosen: object) -> QuantizeParameters:
    return QuantizeParameters.model_validate({"weight_type": "uint8", "methods": ["minmax"]} | chosen)


def test_both_files_come_from_one_calibration_and_keep_the_gate(tiny_onnx: bytes, images_N3HW: Images) -> None:
    judge = agreement_with(tiny_onnx, images_N3HW)
    wanted = parameters(weight_type="auto", methods=["minmax", "entropy"], max_drop=0.06)
    found = search_int8(tiny_onnx, [{"images": images_N3HW}], judge, parameters=wanted)
    lint_int8_cpu(load_onnx(found.int8_cpu))
    lint_int8_trt(load_onnx(found.int8_trt))
    report = found.report
    assert report.passed
    assert report.reference_score == 1.0
    assert report.sensitivity == ()
    assert [c.recipe.target for c in report.candidates if c.chosen] == ["int8_cpu", "int8_trt"]
    assert {c.recipe.method for c in report.candidates} == {"minmax", "entropy"}
    assert report.int8_trt.latency_ratio is None
    assert report.int8_cpu.size_bytes == len(found.int8_cpu)
    assert read_card(found.int8_cpu)["quantization_recipe"] == report.int8_cpu.recipe.model_dump_json()


def test_layers_stay_float_until_the_gate_is_kept(tiny_onnx: bytes, images_N3HW: Images) -> None:
    """The judge likes a file only when the most sensitive layer is float: one layer is enough, and it is named."""

    def judge(runner: Runner) -> float:
        return 1.0 if distance(runner) < limit else 0.9

    right = agreement_with(tiny_onnx, images_N3HW)

    def distance(runner: Runner) -> float:
        return 1 - right(runner)

    whole = search_int8(tiny_onnx, [{"images": images_N3HW}], right, parameters=parameters(sensitivity="always"))
    assert len(whole.report.sensitivity) == 8  # four layers, two targets
    worst = whole.report.sensitivity[0]
    assert worst.target == "int8_cpu"
    assert worst.divergence >= whole.report.sensitivity[1].divergence > 0
    limit = 0.999 * min(c.drop for c in whole.report.candidates if not c.recipe.float_layers)
    found = search_int8(tiny_onnx, [{"images": images_N3HW}], judge, parameters=parameters())
    for target, file in (("int8_cpu", found.int8_cpu), ("int8_trt", found.int8_trt)):
        chosen = found.report.int8_cpu if target == "int8_cpu" else found.report.int8_trt
        kept = [row.layer for row in found.report.sensitivity if row.target == target and row.kept_float]
        assert [*chosen.recipe.float_layers] == kept
        assert json.loads(read_card(file)["float_layers"]) == kept
        left = [layer.name for layer in layer_precisions(load_onnx(file)) if layer.precision != "int8"]
        assert sorted(left) == sorted(kept)
        require_precision(load_onnx(file), "int8")
        assert 1 <= len(kept) <= 2


def test_where_nothing_helps_the_report_says_so_and_the_best_is_given(tiny_onnx: bytes, images_N3HW: Images) -> None:
    def hates_int8(runner: Runner) -> float:
        return 1.0 if runner.name == "fp32" else 0.4

    found = search_int8(tiny_onnx, [{"images": images_N3HW}], hates_int8, parameters=parameters())
    assert not found.report.passed
    assert found.report.int8_cpu.drop == pytest.approx(0.6)
    assert [len(c.recipe.float_layers) for c in found.report.candidates] == [0, 1, 2, 0, 1, 2]
    assert found.report.int8_cpu.recipe.float_layers == ()


def candidate(score: float, ratio: float | None, *, passed: bool = True, float_layers: int = 0) -> Int8Candidate:
    recipe = Int8Recipe(
        target="int8_cpu", method="minmax", weight_type="int7", float_layers=tuple(map(str, range(float_layers)))
    )
    return Int8Candidate(recipe=recipe, score=score, drop=1 - score, latency_ratio=ratio, size_bytes=1, passed=passed)


def test_the_fastest_that_passes_is_chosen_and_the_pareto_front_marked() -> None:
    tried = mark([candidate(0.9, 0.4, passed=False), candidate(0.99, 0.6), candidate(1.0, 0.8), candidate(0.99, 0.9)])
    assert [c.chosen for c in tried] == [False, True, False, False]
    assert [c.on_pareto for c in tried] == [True, True, True, False]


def test_a_difference_in_speed_below_noise_does_not_outweigh_the_score() -> None:
    assert [c.chosen for c in mark([candidate(0.995, 0.600), candidate(1.0, 0.610)])] == [False, True]
    assert [c.chosen for c in mark([candidate(0.995, 0.600), candidate(1.0, 0.620)])] == [True, False]


def test_for_tensorrt_fewer_float_layers_are_better() -> None:
    tried = mark([candidate(1.0, None, float_layers=4), candidate(0.996, None, float_layers=2)])
    assert [c.chosen for c in tried] == [False, True]


@pytest.mark.parametrize(
    ("capabilities", "exact"),
    [
        ({"architecture": "x86_64", "avx2": True}, False),
        ({"architecture": "x86_64", "avx2": True, "avx512_vnni": True}, True),
        ({"architecture": "x86_64", "avx_vnni": True}, True),
        ({"architecture": "aarch64"}, True),
        ({}, False),
    ],
)
def test_the_cpu_tells_which_weight_types_are_worth_trying(capabilities: dict[str, object], exact: bool) -> None:
    assert has_exact_int8(capabilities) is exact
    tried = weight_types_for("int8_cpu", capabilities=capabilities)
    assert tried == (("int8",) if exact else ("int7", "uint8"))
    assert weight_types_for("int8_cpu", "uint8", capabilities) == ("uint8",)
    assert weight_types_for("int8_trt", "uint8", capabilities) == ("int8",)


@pytest.mark.parametrize(
    ("name", "wrong", "why"),
    [
        ("calibration_images", 0, "greater_than_equal"),
        ("methods", ["median"], "literal_error"),
        ("methods", [], "too_short"),
        ("max_drop", 2, "less_than_equal"),
    ],
)
def test_parameters_refuse_what_cannot_be(name: str, wrong: object, why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        QuantizeParameters.model_validate({name: wrong})
    first = caught.value.errors()[0]
    assert (first["loc"][0], first["type"]) == (name, why)


def test_no_calibration_sample_is_refused(tiny_onnx: bytes) -> None:
    with pytest.raises(ExportError, match="INT8 needs calibration samples, found none"):
        search_int8(tiny_onnx, [], lambda _: 1.0, parameters=parameters())
