"""Whether an INT8 file is what its name says, read from its graph alone."""

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from eightgig.core.errors import ExportError
from eightgig.export.precision import names_in

_MATRIX = ("Conv", "Gemm", "MatMul")
_PAIR = ("QuantizeLinear", "DequantizeLinear")
_BYTES = (TensorProto.INT8, TensorProto.UINT8)


def lint_int8_trt(model: onnx.ModelProto) -> None:
    """Refuse a file that TensorRT would refuse, or run in another precision than INT8.

    Every zero point is int8 and 0, no bias is dequantized from int32, weights have one scale an output channel, only
    matrix layers read quantized tensors, and all matrix layers with constant weights but the card's `float_layers`
    are quantized on both sides.

    Raises:
        ExportError: lists all violations.
    """
    graph = _Graph(model)
    checks = (_foreign_operators, _wrong_zero_points, _int32_biases, _wrong_axes, _stray_readers, _float_sides)
    _refuse("int8_trt", graph, checks)


def lint_int8_cpu(model: onnx.ModelProto) -> None:
    """Refuse a file whose layers are not all INT8: on both sides, but the card's `float_layers`.

    Weights have one scale an output channel, and nothing behind the last matrix layer is quantized.

    Raises:
        ExportError: lists all violations.
    """
    _refuse("int8_cpu", _Graph(model), (_wrong_axes, _quantized_tail, _float_sides))


class _Graph:
    """A graph with the maker and the readers of each tensor."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = [*model.graph.node]
        self.outputs = {value.name for value in model.graph.output}
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.constants |= {node.output[0]: a.t for node in self.nodes for a in node.attribute if a.name == "value"}
        self.makers = {name: node for node in self.nodes for name in node.output}
        card = {entry.key: entry.value for entry in model.metadata_props}
        self.float_layers = set(names_in(card, "float_layers"))
        self.layers = [node for node in self.nodes if node.op_type in _MATRIX and self._has_constant(node.input[1])]

    def readers(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if name in node.input]

    def dequantizer(self, name: str) -> onnx.NodeProto | None:
        maker = self.makers.get(name)
        return maker if maker is not None and maker.op_type == "DequantizeLinear" else None

    def stored(self, name: str) -> onnx.TensorProto | None:
        """Return the constant behind a tensor, through a DequantizeLinear: quantized already or by a QuantizeLinear."""
        maker = self.dequantizer(name)
        if maker is None:
            return None
        pair = self.makers.get(maker.input[0])
        quantized_here = pair is not None and pair.op_type == "QuantizeLinear"
        return self.constants.get(pair.input[0] if pair is not None and quantized_here else maker.input[0])

    def quantizer(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """Return the QuantizeLinear right before a node."""
        maker = self.makers.get(node.input[0])
        return maker if maker is not None and maker.op_type == "QuantizeLinear" else None

    def _has_constant(self, name: str) -> bool:
        return name in self.constants or self.stored(name) is not None


_Check = Callable[[_Graph], Iterator[str]]


def _refuse(target: str, graph: _Graph, checks: tuple[_Check, ...]) -> None:
    violations = [violation for check in checks for violation in check(graph)]
    if not graph.layers:
        violations.append("it has no Conv, Gemm or MatMul with constant weights")
    if violations:
        raise ExportError(
            f"wanted a file for {target}, found {len(violations)} violations: {'; '.join(violations)}. "
            f"Quantize the float32 file with eightgig's {target} recipe."
        )


def _foreign_operators(graph: _Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.domain not in ("", "ai.onnx"):
            yield f"node `{node.name}` is {node.domain}.{node.op_type}, which is no ONNX operator"


def _wrong_zero_points(graph: _Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type not in _PAIR or _is_int32(graph, node):
            continue
        zero_point = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
        if zero_point is None and _is_int8_without_zero_point(graph, node):
            continue
        if zero_point is None:
            yield f"{node.op_type} `{node.name}` has no constant zero point, so it may be uint8"
        elif zero_point.data_type != TensorProto.INT8:
            yield f"{node.op_type} `{node.name}` is {_type_name(zero_point)}, not int8"
        elif np.any(numpy_helper.to_array(zero_point)):
            yield f"{node.op_type} `{node.name}` has a zero point that is not 0"


def _is_int8_without_zero_point(graph: _Graph, node: onnx.NodeProto) -> bool:
    """Without a zero point QuantizeLinear gives uint8 unless told otherwise, DequantizeLinear what it is given."""
    if node.op_type == "QuantizeLinear":
        return _attribute(node, "output_dtype", TensorProto.UINT8) == TensorProto.INT8
    stored = graph.constants.get(node.input[0])
    return graph.quantizer(node) is not None or (stored is not None and stored.data_type == TensorProto.INT8)


def _int32_biases(graph: _Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type == "DequantizeLinear" and _is_int32(graph, node):
            yield f"DequantizeLinear `{node.name}` makes a bias from int32"


def _wrong_axes(graph: _Graph) -> Iterator[str]:
    for layer in graph.layers:
        maker, stored = graph.dequantizer(layer.input[1]), graph.stored(layer.input[1])
        if maker is None or stored is None:
            continue
        scale = graph.constants.get(maker.input[1])
        axis = _channel_axis(layer)
        if scale is None or len(scale.dims) != 1:
            yield f"layer `{layer.name}` has one scale for all weights, not one a channel"
        elif _attribute(maker, "axis", 1) % len(stored.dims) != axis or scale.dims[0] != stored.dims[axis]:
            yield f"layer `{layer.name}` has its scales along axis {_attribute(maker, 'axis', 1)}, not {axis}"


def _stray_readers(graph: _Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type != "DequantizeLinear" or node.input[0] in graph.constants:
            continue
        if node.output[0] in graph.outputs:
            yield f"the output `{node.output[0]}` is quantized"
        for reader in graph.readers(node.output[0]):
            if reader.op_type not in _MATRIX:
                yield f"{reader.op_type} `{reader.name}` reads a quantized tensor; only matrix layers may"


def _quantized_tail(graph: _Graph) -> Iterator[str]:
    before = _leading_to(graph, [name for layer in graph.layers for name in layer.input])
    for node in graph.nodes:
        if node.op_type == "QuantizeLinear" and node.name not in before:
            yield f"`{node.input[0]}` is quantized behind the last matrix layer"


def _float_sides(graph: _Graph) -> Iterator[str]:
    for layer in graph.layers:
        if layer.name in graph.float_layers:
            continue
        dequantizer, stored = graph.dequantizer(layer.input[1]), graph.stored(layer.input[1])
        by_pair = dequantizer is not None and graph.quantizer(dequantizer) is not None
        if stored is None or (stored.data_type not in _BYTES and not by_pair):
            yield f"layer `{layer.name}` has float weights, and the card's float_layers does not list it"
        maker = graph.dequantizer(layer.input[0])
        source = graph.makers.get(maker.input[0]) if maker is not None else None
        if maker is None or (source is not None and source.op_type in _MATRIX):
            yield f"layer `{layer.name}` reads a float tensor, and the card's float_layers does not list it"


def _leading_to(graph: _Graph, tensors: list[str]) -> set[str]:
    names: set[str] = set()
    rest = [*tensors]
    while rest:
        node = graph.makers.get(rest.pop())
        if node is not None and node.name not in names:
            names.add(node.name)
            rest.extend(node.input)
    return names


def _is_int32(graph: _Graph, node: onnx.NodeProto) -> bool:
    source = graph.constants.get(node.input[0])
    return source is not None and source.data_type == TensorProto.INT32


def _type_name(tensor: onnx.TensorProto) -> str:
    return helper.tensor_dtype_to_np_dtype(tensor.data_type).name


def _channel_axis(layer: onnx.NodeProto) -> int:
    return 0 if layer.op_type == "Conv" or _attribute(layer, "transB", 0) else 1


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
