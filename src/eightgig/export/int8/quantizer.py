"""An INT8 file from a calibration and a recipe, by ONNX Runtime's static Q/DQ quantizer."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod as OnnxRuntimeMethod
from onnxruntime.quantization import QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData

from eightgig.core.errors import ExportError
from eightgig.export.int8.calibration import BETWEEN_OPERATORS, Calibration, quiet
from eightgig.export.int8.layers import (
    QUANTIZED_MATRIX_OPERATORS,
    MatrixLayer,
    matrix_layers,
    nodes_before,
    other_matrix_nodes,
)
from eightgig.export.int8.ranges import Range
from eightgig.export.int8.records import Int8Recipe
from eightgig.export.int8.weights import weight_overrides
from eightgig.export.onnx import dump_onnx

# Attention masks add -1e9 or less to scores of ordinary size: one scale for both would leave the scores none.
_LARGEST_VALUE = 1e6

# What TensorRT wants: symmetric int8 around 0, and only the inputs of matrix layers quantized.
_TENSORRT_OPTIONS: dict[str, Any] = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": [*QUANTIZED_MATRIX_OPERATORS],
}


def quantize(calibration: Calibration, recipe: Int8Recipe) -> bytes:
    """Return the INT8 file, with the float file's card and what was done to it; the same inputs give the same bytes.

    More in the card: `quantization` in words, `quantization_recipe` and `float_layers` as JSON (all matrix layers that
    are not INT8), `calibration_images`.

    Args:
        calibration: of the float file.
        recipe: how.

    Raises:
        ExportError: the recipe names a layer that the network does not have, or leaves none to quantize.
    """
    layers = _chosen_layers(calibration, recipe)
    model = quantize_layers(calibration, recipe, layers)
    left_float = [*recipe.float_layers, *other_matrix_nodes(calibration.model)]
    activations = "symmetric int8" if recipe.target == "int8_trt" else "uint8"
    made = {
        "quantization": f"static Q/DQ, {activations} activations, {recipe.weight_type} weights, {recipe.method}",
        "quantization_recipe": recipe.model_dump_json(),
        "float_layers": json.dumps(left_float),
        "calibration_images": str(calibration.num_samples),
    }
    return dump_onnx(model, {**calibration.card, **made})


def quantize_layers(calibration: Calibration, recipe: Int8Recipe, layers: list[MatrixLayer]) -> onnx.ModelProto:
    """Return the graph with `layers`, and what the recipe quantizes between them, in Q/DQ form."""
    is_for_cpu = recipe.target == "int8_cpu"
    ranges = calibration.ranges[recipe.method]
    names = [layer.name for layer in layers]
    between = is_for_cpu and recipe.operators == "all"
    nodes = names + (_between(calibration.model, names, ranges.items()) if between else [])
    model = onnx.ModelProto()
    model.CopyFrom(calibration.model)
    overrides = weight_overrides(model, layers, recipe.weight_type, ranges, quantizes_bias=is_for_cpu)
    options = {"TensorQuantOverrides": overrides, "QDQDisableWeightAdjustForInt32Bias": True}
    with quiet():
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QUInt8 if recipe.weight_type == "uint8" else QuantType.QInt8,
            activation_qType=QuantType.QUInt8 if is_for_cpu else QuantType.QInt8,
            tensors_range=TensorsData(
                OnnxRuntimeMethod.MinMax,
                {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()},
            ),
            nodes_to_quantize=nodes,
            nodes_to_exclude=[],
            op_types_to_quantize=[*QUANTIZED_MATRIX_OPERATORS, *sorted(BETWEEN_OPERATORS)],
            extra_options=options if is_for_cpu else options | _TENSORRT_OPTIONS,
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    quantized: onnx.ModelProto = quantizer.model.model
    _free_outputs(quantized, {*names} - nodes_before(quantized, names))
    if not is_for_cpu:
        _give_back_floats(quantized)
    return quantized


def simulate(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same graph with every quantized constant as the float value that it stands for.

    Its answers are those of exact INT8 arithmetic, on any machine, and no runtime can turn it into INT8 kernels.
    """
    simulated = onnx.ModelProto()
    simulated.CopyFrom(model)
    graph = simulated.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants]:
        graph.initializer.append(numpy_helper.from_array(_dequantize(node, constants), node.output[0]))
        graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
    return simulated


def _chosen_layers(calibration: Calibration, recipe: Int8Recipe) -> list[MatrixLayer]:
    layers = matrix_layers(calibration.model)
    known = [layer.name for layer in layers]
    unknown = [name for name in recipe.float_layers if name not in known]
    if unknown:
        raise ExportError(f"float_layers: the network has no layer {', '.join(unknown)}. It has {', '.join(known)}.")
    chosen = [layer for layer in layers if layer.name not in recipe.float_layers]
    if not chosen:
        raise ExportError(f"INT8 with all {len(known)} layers in float is no INT8: use the float32 file.")
    return chosen


def _between(model: onnx.ModelProto, names: list[str], ranges: Iterable[tuple[str, Range]]) -> list[str]:
    """Return the nodes to quantize that are no matrix layer: none behind the last of them, no attention masks."""
    before = nodes_before(model, names)
    huge = {name for name, (low, high) in ranges if max(-low, high) > _LARGEST_VALUE} | {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and np.any(np.abs(numpy_helper.to_array(tensor)) > _LARGEST_VALUE)
    }
    return [
        node.name
        for node in model.graph.node
        if node.op_type in BETWEEN_OPERATORS and node.name in before and not huge & {*node.input, *node.output}
    ]


def _free_outputs(model: onnx.ModelProto, last: set[str]) -> None:
    """Take away the Q/DQ pair behind each of the `last` layers: 256 levels are too few for logits and boxes."""
    graph = model.graph
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for layer in [node for node in graph.node if node.name in last]:
        for quantize_node in readers.get(layer.output[0], []):
            if quantize_node.op_type != "QuantizeLinear":
                continue
            pairs = readers[quantize_node.output[0]]
            if len(pairs) == 1:
                graph.node.remove(quantize_node)
                graph.node.remove(pairs[0])
                layer.output[0] = pairs[0].output[0]


def _give_back_floats(model: onnx.ModelProto) -> None:
    """Let what is no matrix layer read the float tensor again: the quantizer rounds a tensor for all its readers."""
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in (*QUANTIZED_MATRIX_OPERATORS, "QuantizeLinear", "DequantizeLinear"):
            continue
        for position, name in enumerate(node.input):
            pair = makers.get(name)
            rounded = makers.get(pair.input[0]) if pair is not None and pair.op_type == "DequantizeLinear" else None
            if rounded is not None:
                node.input[position] = rounded.input[0]


def _dequantize(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> Any:
    values, scale, zero_point = (numpy_helper.to_array(constants[name]) for name in node.input)
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    if scale.ndim:
        shape = [-1 if position == axis % values.ndim else 1 for position in range(values.ndim)]
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    return ((values.astype(np.int64) - zero_point.astype(np.int64)) * scale.astype(np.float64)).astype(np.float32)
