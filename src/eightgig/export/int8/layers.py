"""The matrix layers of an ONNX graph: what INT8 is for, and what must stay float behind them."""

from collections.abc import Iterable
from dataclasses import dataclass

import onnx

from eightgig.export.precision import MATRIX_OPERATORS

QUANTIZED_MATRIX_OPERATORS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class MatrixLayer:
    """A Conv, Gemm or MatMul with a constant float weight.

    Attributes:
        name: of the node.
        operator: its type.
        data: name of the tensor that the weight is multiplied with.
        weight: name of the constant.
        bias: name of the constant that is added; empty when there is none.
        channel_axis: of the weight, along which output channels lie.
        depthwise: a convolution with one input channel for each output channel.
    """

    name: str
    operator: str
    data: str
    weight: str
    bias: str
    channel_axis: int
    depthwise: bool


def matrix_layers(model: onnx.ModelProto) -> list[MatrixLayer]:
    """Return the layers that can be quantized, in the graph's order; ConvTranspose has no INT8 kernel."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    return [
        _layer(node, constants)
        for node in model.graph.node
        if node.op_type in QUANTIZED_MATRIX_OPERATORS and _has_weight(node, constants)
    ]


def other_matrix_nodes(model: onnx.ModelProto) -> list[str]:
    """Return the names of matrix nodes that are never quantized: products of two computed tensors, ConvTranspose."""
    layers = {layer.name for layer in matrix_layers(model)}
    return [node.name for node in model.graph.node if node.op_type in MATRIX_OPERATORS and node.name not in layers]


def nodes_before(model: onnx.ModelProto, layers: Iterable[str]) -> set[str]:
    """Return the names of the nodes from which one of `layers` is reached, without those layers that reach no other.

    What is left lies behind all matrix layers: a detector's decode, a softmax. Eight bits there would hold boxes of
    0 to 640 beside scores of 0 to 1 in one scale.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    wanted = set(layers)
    before: set[str] = set()
    rest = [name for node in model.graph.node if node.name in wanted for name in node.input]
    while rest:
        node = makers.get(rest.pop())
        if node is not None and node.name not in before:
            before.add(node.name)
            rest.extend(node.input)
    return before


def nodes_behind(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes behind all matrix layers, in the graph's order: a detector's decode.

    A last matrix layer is none of them, nor is anything from which a matrix layer is reached.
    """
    layers = [layer.name for layer in matrix_layers(model)]
    before = nodes_before(model, layers) | {*layers}
    return [node.name for node in model.graph.node if node.name not in before and node.op_type not in MATRIX_OPERATORS]


def name_nodes(model: onnx.ModelProto) -> None:
    """Name the nodes that have no name, in place: layers are told apart by it."""
    taken = {node.name for node in model.graph.node}
    for position, node in enumerate(model.graph.node):
        if not node.name:
            node.name = f"{node.op_type}_{position}"
            while node.name in taken:
                node.name += "_"
            taken.add(node.name)


def _has_weight(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    weight = constants.get(node.input[1])
    if weight is None or weight.data_type != onnx.TensorProto.FLOAT or node.input[0] in constants:
        return False
    return node.op_type == "Conv" or len(weight.dims) == 2


def _layer(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> MatrixLayer:
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    weight = constants[node.input[1]]
    bias = node.input[2] if len(node.input) > 2 else ""
    return MatrixLayer(
        name=node.name,
        operator=node.op_type,
        data=node.input[0],
        weight=node.input[1],
        bias=bias if bias in constants else "",
        channel_axis=0 if node.op_type == "Conv" or attributes.get("transB") else 1,
        depthwise=node.op_type == "Conv" and attributes.get("group", 1) == weight.dims[0] > 1,
    )
