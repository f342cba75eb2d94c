from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from eightgig.core.errors import ExportError
from eightgig.export.int8.lint import lint_int8_cpu, lint_int8_trt

Change = Callable[[onnx.ModelProto], None]


def legal() -> onnx.ModelProto:
    """A convolution and a linear layer as TensorRT wants them."""
    arrays: dict[str, NDArray[Any]] = {
        "scale": np.array(0.1, dtype=np.float32),
        "zero": np.array(0, dtype=np.int8),
        "conv_weight": np.ones((4, 3, 1, 1), dtype=np.int8),
        "conv_scales": np.full(4, 0.1, dtype=np.float32),
        "conv_zeros": np.zeros(4, dtype=np.int8),
        "linear_weight": np.ones((4, 2), dtype=np.int8),
        "linear_scales": np.full(2, 0.1, dtype=np.float32),
        "linear_zeros": np.zeros(2, dtype=np.int8),
        "bias": np.zeros(4, dtype=np.float32),
    }
    nodes = [
        node("QuantizeLinear", ["images", "scale", "zero"], "images_int8"),
        node("DequantizeLinear", ["images_int8", "scale", "zero"], "images_rounded"),
        node("DequantizeLinear", ["conv_weight", "conv_scales", "conv_zeros"], "conv_rounded", axis=0),
        node("Conv", ["images_rounded", "conv_rounded", "bias"], "features"),
        node("GlobalAveragePool", ["features"], "pooled"),
        node("Flatten", ["pooled"], "flat"),
        node("QuantizeLinear", ["flat", "scale", "zero"], "flat_int8"),
        node("DequantizeLinear", ["flat_int8", "scale", "zero"], "flat_rounded"),
        node("DequantizeLinear", ["linear_weight", "linear_scales", "linear_zeros"], "linear_rounded", axis=1),
        node("MatMul", ["flat_rounded", "linear_rounded"], "raw"),
        node("Softmax", ["raw"], "output"),
    ]
    graph = helper.make_graph(
        nodes,
        "legal",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 2, 2])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], name=f"make_{output}", **attributes)


def made(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.name == f"make_{name}")


def store(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    for tensor in [t for t in model.graph.initializer if t.name == name]:
        model.graph.initializer.remove(tensor)
    model.graph.initializer.append(numpy_helper.from_array(array, name))


def asymmetric(model: onnx.ModelProto) -> None:
    store(model, "zero", np.array(3, dtype=np.int8))


def unsigned(model: onnx.ModelProto) -> None:
    store(model, "zero", np.array(0, dtype=np.uint8))


def without_zero_point(model: onnx.ModelProto) -> None:
    del made(model, "flat_int8").input[2]


def int32_bias(model: onnx.ModelProto) -> None:
    store(model, "bias_int32", np.zeros(4, dtype=np.int32))
    model.graph.node.insert(0, node("DequantizeLinear", ["bias_int32", "scale"], "bias_rounded"))
    made(model, "features").input[2] = "bias_rounded"


def one_scale(model: onnx.ModelProto) -> None:
    made(model, "conv_rounded").input[1:] = ["scale", "zero"]


def wrong_axis(model: onnx.ModelProto) -> None:
    made(model, "linear_rounded").attribute[0].i = 0


def quantized_decode(model: onnx.ModelProto) -> None:
    model.graph.node.insert(10, node("QuantizeLinear", ["raw", "scale", "zero"], "raw_int8"))
    model.graph.node.insert(11, node("DequantizeLinear", ["raw_int8", "scale", "zero"], "raw_rounded"))
    made(model, "output").input[0] = "raw_rounded"


def quantized_output(model: onnx.ModelProto) -> None:
    model.graph.node.append(node("QuantizeLinear", ["output", "scale", "zero"], "output_int8"))
    model.graph.node.append(node("DequantizeLinear", ["output_int8", "scale", "zero"], "final"))
    model.graph.output[0].name = "final"


def float_data(model: onnx.ModelProto) -> None:
    made(model, "features").input[0] = "images"


def float_weights(model: onnx.ModelProto) -> None:
    store(model, "linear_rounded", np.ones((4, 2), dtype=np.float32))
    model.graph.node.remove(made(model, "linear_rounded"))


def foreign(model: onnx.ModelProto) -> None:
    made(model, "flat_int8").domain = "com.microsoft"


def test_a_legal_file_passes_both() -> None:
    lint_int8_trt(legal())
    lint_int8_cpu(legal())


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        (asymmetric, "QuantizeLinear `make_images_int8` has a zero point that is not 0"),
        (unsigned, "QuantizeLinear `make_images_int8` is uint8, not int8"),
        (without_zero_point, "QuantizeLinear `make_flat_int8` has no constant zero point, so it may be uint8"),
        (int32_bias, "DequantizeLinear `make_bias_rounded` makes a bias from int32"),
        (one_scale, "layer `make_features` has one scale for all weights, not one a channel"),
        (wrong_axis, "layer `make_raw` has its scales along axis 0, not 1"),
        (quantized_decode, "Softmax `make_output` reads a quantized tensor; only matrix layers may"),
        (quantized_output, "the output `final` is quantized"),
        (float_data, "layer `make_features` reads a float tensor, and the card's float_layers does not list it"),
        (float_weights, "layer `make_raw` has float weights, and the card's float_layers does not list it"),
        (foreign, "node `make_flat_int8` is com.microsoft.QuantizeLinear, which is no ONNX operator"),
    ],
)
def test_each_violation_is_refused_by_name(change: Change, violation: str) -> None:
    model = legal()
    change(model)
    with pytest.raises(ExportError) as refused:
        lint_int8_trt(model)
    assert violation in str(refused.value)
    assert "wanted a file for int8_trt" in str(refused.value)
    assert "Quantize the float32 file with eightgig's int8_trt recipe." in str(refused.value)


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        (float_data, "layer `make_features` reads a float tensor"),
        (float_weights, "layer `make_raw` has float weights"),
        (one_scale, "layer `make_features` has one scale"),
        (quantized_decode, "`raw` is quantized behind the last matrix layer"),
    ],
)
def test_the_file_for_the_cpu_must_be_int8_in_every_layer_too(change: Change, violation: str) -> None:
    model = legal()
    change(model)
    with pytest.raises(ExportError, match=violation):
        lint_int8_cpu(model)


def test_the_cpu_may_have_what_tensorrt_may_not() -> None:
    for change in (asymmetric, unsigned, int32_bias):
        model = legal()
        change(model)
        lint_int8_cpu(model)


def test_all_violations_are_listed() -> None:
    model = legal()
    for change in (int32_bias, float_data, float_weights):
        change(model)
    with pytest.raises(ExportError, match="found 3 violations"):
        lint_int8_trt(model)


def weights_through_a_pair(model: onnx.ModelProto) -> None:
    """Float weights between QuantizeLinear and DequantizeLinear, as quantization-aware training exports them."""
    store(model, "conv_weight", np.ones((4, 3, 1, 1), dtype=np.float32))
    made(model, "conv_rounded").input[0] = "conv_int8"
    pair = node("QuantizeLinear", ["conv_weight", "conv_scales", "conv_zeros"], "conv_int8", axis=0)
    model.graph.node.insert(0, pair)


def constants_as_nodes(model: onnx.ModelProto) -> None:
    for tensor in [*model.graph.initializer]:
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    del model.graph.initializer[:]


def dequantized_without_zero_points(model: onnx.ModelProto) -> None:
    for name in ("conv_rounded", "linear_rounded", "images_rounded"):
        del made(model, name).input[2]


@pytest.mark.parametrize("change", [weights_through_a_pair, constants_as_nodes, dequantized_without_zero_points])
def test_other_forms_of_the_same_are_legal_too(change: Change) -> None:
    model = legal()
    change(model)
    lint_int8_trt(model)
    lint_int8_cpu(model)


def test_a_pair_to_unsigned_weights_is_refused() -> None:
    model = legal()
    weights_through_a_pair(model)
    store(model, "conv_zeros", np.zeros(4, dtype=np.uint8))
    with pytest.raises(ExportError, match="`make_conv_int8` is uint8, not int8"):
        lint_int8_trt(model)


def test_a_layer_that_the_card_lists_may_be_float() -> None:
    model = legal()
    float_weights(model)
    made(model, "raw").input[0] = "flat"
    for name in ("flat_int8", "flat_rounded"):
        model.graph.node.remove(made(model, name))
    helper.set_model_props(model, {"float_layers": '["make_raw"]'})
    lint_int8_trt(model)
    lint_int8_cpu(model)


def test_a_file_without_a_layer_is_refused() -> None:
    model = legal()
    del model.graph.node[:]
    with pytest.raises(ExportError, match="it has no Conv, Gemm or MatMul with constant weights"):
        lint_int8_trt(model)
