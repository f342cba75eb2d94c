import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from eightgig.core.errors import ExportError
from eightgig.export.int8.calibration import Calibration, calibrate
from eightgig.export.int8.layers import matrix_layers
from eightgig.export.int8.lint import lint_int8_cpu, lint_int8_trt
from eightgig.export.int8.parameters import CalibrationMethod, QuantizeParameters, WeightType
from eightgig.export.int8.quantizer import quantize, simulate
from eightgig.export.int8.ranges import read_range
from eightgig.export.int8.records import Int8Recipe
from eightgig.export.onnx import dump_onnx, load_onnx, read_card
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
from eightgig.export.precision import require_precision

Images = NDArray[np.float32]


def logits(onnx_file: bytes, images_N3HW: Images) -> NDArray[np.float32]:
    with OnnxRuntimeRunner(onnx_file, num_threads=1) as runner:
        return runner.run({"images": images_N3HW})["logits"]


def signal_to_noise_db(reference: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    return float(10 * np.log10(reference.var() / (found - reference).var()))


def for_cpu(method: CalibrationMethod = "minmax", weight_type: WeightType = "uint8") -> Int8Recipe:
    return Int8Recipe(target="int8_cpu", method=method, weight_type=weight_type)


FOR_TENSORRT = Int8Recipe(target="int8_trt", method="minmax", weight_type="int8", operators="matrix")


@pytest.fixture(scope="module")
def calibration(tiny_onnx: bytes) -> Calibration:
    images_N3HW = np.random.default_rng(1).standard_normal((24, 3, 32, 32), dtype=np.float32)
    return calibrate(tiny_onnx, [{"images": images_N3HW}], parameters=QuantizeParameters())


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
@pytest.mark.parametrize("weight_type", ["uint8", "int7"])
def test_an_int8_file_answers_nearly_as_the_float_one(
    tiny_onnx: bytes,
    images_N3HW: Images,
    calibration: Calibration,
    method: CalibrationMethod,
    weight_type: WeightType,
    capfd: pytest.CaptureFixture[str],
) -> None:
    quantized = quantize(calibration, for_cpu(method, weight_type))
    assert signal_to_noise_db(logits(tiny_onnx, images_N3HW), logits(quantized, images_N3HW)) > 12
    require_precision(load_onnx(quantized), "int8")
    lint_int8_cpu(load_onnx(quantized))
    assert capfd.readouterr().out == ""


def test_the_tensorrt_file_is_legal_and_its_simulation_is_the_same_arithmetic(
    tiny_onnx: bytes, images_N3HW: Images, calibration: Calibration
) -> None:
    model = load_onnx(quantize(calibration, FOR_TENSORRT))
    lint_int8_trt(model)
    floats = simulate(model)
    assert {t.data_type for t in floats.graph.initializer if len(t.dims) > 1} == {TensorProto.FLOAT}
    found = logits(floats.SerializeToString(), images_N3HW)
    assert signal_to_noise_db(logits(tiny_onnx, images_N3HW), found) > 12
    np.testing.assert_allclose(logits(model.SerializeToString(), images_N3HW), found, atol=0.02)


def test_depthwise_weights_are_int8_where_all_others_are_uint8(calibration: Calibration) -> None:
    model = load_onnx(quantize(calibration, for_cpu()))
    types = {tuple(t.dims): t.data_type for t in model.graph.initializer if len(t.dims) == 4}
    assert types[16, 1, 3, 3] == TensorProto.INT8
    assert types[32, 16, 1, 1] == types[16, 3, 3, 3] == TensorProto.UINT8


def test_int7_weights_leave_room_for_two_products_in_16_bits(calibration: Calibration) -> None:
    model = load_onnx(quantize(calibration, for_cpu(weight_type="int7")))
    (dense,) = [numpy_helper.to_array(t) for t in model.graph.initializer if tuple(t.dims) == (32, 16, 1, 1)]
    assert np.abs(dense.astype(int)).max() == 63
    assert 2 * 255 * 63 < 2**15


def test_a_dead_channel_with_a_bias_keeps_its_bias(tiny_onnx: bytes, images_N3HW: Images) -> None:
    model = load_onnx(tiny_onnx)
    linear = next(node for node in model.graph.node if node.op_type == "Gemm")
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weight, bias = (numpy_helper.to_array(tensors[name]).copy() for name in linear.input[1:3])
    weight[0], bias[0] = 1e-9, 3.0
    for name, array in zip(linear.input[1:3], (weight, bias), strict=True):
        tensors[name].CopyFrom(numpy_helper.from_array(array, name))
    found = calibrate(dump_onnx(model, {}), [{"images": images_N3HW}], parameters=QuantizeParameters())
    for weight_type in ("uint8", "int7"):
        quantized = quantize(found, for_cpu(weight_type=weight_type))
        np.testing.assert_allclose(logits(quantized, images_N3HW)[:, 0], 3.0, atol=0.05)


def test_the_same_inputs_give_the_same_bytes_and_the_card_is_kept(tiny_onnx: bytes, images_N3HW: Images) -> None:
    parameters = QuantizeParameters(calibration_images=10)
    batches = [{"images": part} for part in (images_N3HW[:8], images_N3HW[8:16], images_N3HW[16:])]
    first = quantize(calibrate(tiny_onnx, iter(batches), parameters=parameters), for_cpu("entropy"))
    again = calibrate(tiny_onnx, [{"images": images_N3HW[:10]}], parameters=parameters)
    assert first == quantize(again, for_cpu("entropy"))
    card = read_card(first)
    assert card["classes"] == read_card(tiny_onnx)["classes"]
    assert card["quantization"] == "static Q/DQ, uint8 activations, uint8 weights, entropy"
    assert card["calibration_images"] == "10"
    assert card["float_layers"] == "[]"


def test_ranges_are_those_of_the_values(calibration: Calibration) -> None:
    images_N3HW = np.random.default_rng(1).standard_normal((24, 3, 32, 32), dtype=np.float32)
    whole = (float(images_N3HW.min()), float(images_N3HW.max()))
    assert calibration.ranges["minmax"]["images"] == whole
    assert calibration.num_samples == 24
    assert [len(sample["images"]) for sample in calibration.samples] == [1]
    cut = calibration.ranges["percentile"]["images"]
    assert cut == pytest.approx(np.percentile(images_N3HW, [0.005, 99.995]), abs=0.2)
    assert whole[0] < cut[0]
    assert cut[1] < whole[1]


def test_entropy_cuts_a_lone_outlier_and_every_range_holds_zero() -> None:
    values_N = np.append(np.random.default_rng(0).uniform(-1, 1, 10_000), 100.0).astype(np.float32)
    parameters = QuantizeParameters()
    low, high = read_range("entropy", (-1.0, 100.0), values_N, parameters=parameters)
    assert low == -1.0
    assert high < 20
    assert read_range("minmax", (2.0, 3.0), values_N, parameters=parameters) == (0.0, 3.0)


def test_one_value_alone_has_a_range() -> None:
    lowest = float(np.finfo(np.float32).min)  # what an attention mask adds
    for value in (7.0, lowest):
        values_N = np.full(5000, value, dtype=np.float32)
        low, high = read_range("entropy", (value, value), values_N, parameters=QuantizeParameters())
        assert low <= min(0.0, value * 0.99)
        assert high >= max(0.0, value * 0.99)


def test_a_layer_that_the_network_does_not_have_is_refused(calibration: Calibration) -> None:
    wrong = for_cpu().model_copy(update={"float_layers": ("head",)})
    with pytest.raises(ExportError, match=r"the network has no layer head\. It has node_"):
        quantize(calibration, wrong)
    names = tuple(layer.name for layer in matrix_layers(calibration.model))
    with pytest.raises(ExportError, match="INT8 with all 4 layers in float is no INT8"):
        quantize(calibration, for_cpu().model_copy(update={"float_layers": names}))


def detector() -> bytes:
    """A layer, then a decode that joins boxes of hundreds with scores below 1; a residual and an attention mask."""
    rng = np.random.default_rng(0)
    arrays = {
        "weight_1": rng.standard_normal((8, 8), dtype=np.float32),
        "weight_2": rng.standard_normal((8, 8), dtype=np.float32),
        "mask": np.array([0, -1e9], dtype=np.float32).repeat(4),
        "stride": np.array([640], dtype=np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["features", "weight_1"], ["hidden"], name="first"),
        helper.make_node("Add", ["hidden", "mask"], ["masked"], name="mask_scores"),
        helper.make_node("Softmax", ["masked"], ["attention"], name="attend"),
        helper.make_node("Add", ["attention", "hidden"], ["residual"], name="add_residual"),
        helper.make_node("MatMul", ["residual", "weight_2"], ["raw"], name="second"),
        helper.make_node("Sigmoid", ["raw"], ["scores"], name="squash"),
        helper.make_node("Mul", ["scores", "stride"], ["boxes"], name="scale"),
        helper.make_node("Concat", ["scores", "boxes", "hidden"], ["output"], name="join", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 24])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return dump_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), {})


@pytest.mark.parametrize("target", ["int8_cpu", "int8_trt"])
def test_the_decode_and_attention_masks_stay_float(target: str) -> None:
    features = np.random.default_rng(2).standard_normal((64, 8), dtype=np.float32)
    file = detector()
    found = calibrate(file, [{"features": features}], parameters=QuantizeParameters())
    recipe = for_cpu() if target == "int8_cpu" else FOR_TENSORRT
    quantized = quantize(found, recipe)
    model = load_onnx(quantized)
    rounded = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert "residual" in rounded
    assert not rounded & {"masked", "raw", "scores", "boxes", "output"}
    with OnnxRuntimeRunner(file) as right, OnnxRuntimeRunner(quantized) as other:
        wanted, given = (runner.run({"features": features})["output"] for runner in (right, other))
    assert signal_to_noise_db(wanted[:, :8], given[:, :8]) > 15  # the scores: 0 dB where boxes share their scale
    (lint_int8_cpu if target == "int8_cpu" else lint_int8_trt)(onnx.load_model_from_string(quantized))


def test_values_that_are_not_numbers_are_refused(tiny_onnx: bytes, images_N3HW: Images) -> None:
    with pytest.raises(ExportError, match="tensor `images` holds values that are not numbers"):
        calibrate(tiny_onnx, [{"images": np.full_like(images_N3HW, np.nan)}], parameters=QuantizeParameters())
