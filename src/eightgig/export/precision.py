"""Which precision each layer of an ONNX file has, read from its graph; and whether that is what the file claims.

A layer's precision is that of its products: INT8 where both factors come from DequantizeLinear (explicit Q/DQ), and
otherwise the float type of its second factor as it arrives, so weights stored in fp16 and cast to fp32 count as fp32.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import TensorProto

from eightgig.core.errors import ExportError
from eightgig.core.records import Record

MATRIX_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# What ONNX Runtime makes of them; those in INT8 need no look at their weights.
_FUSED_OPERATORS = frozenset({"FusedConv", "NhwcFusedConv", "FusedGemm", "FusedMatMul", "TransposeMatMul"})
_INT8_OPERATORS = frozenset(
    {"QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat"}
    | {"DynamicQuantizeMatMul", "QAttention"}
)
_NAMES = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16"}
_SMALL_BYTES, _LARGEST_BYTES = 1024, 2**31  # protobuf's own limit
_PASS_ON = frozenset({"Transpose", "Reshape", "Identity", "Flatten", "Unsqueeze", "Squeeze"})


class LayerPrecision(Record):
    """One matrix layer of a graph.

    Attributes:
        name: of the node.
        operator: for example `Conv`.
        precision: `fp32`, `fp16`, `bf16`, `int8`, or `unknown` where the graph does not tell.
        num_weights: elements of its constant factor; 0 when both factors are computed.
    """

    name: str
    operator: str
    precision: str
    num_weights: int


def layer_precisions(model: onnx.ModelProto) -> list[LayerPrecision]:
    """Return every matrix layer (convolution or matrix product) in the graph's order; also of an optimised graph."""
    graph = _Graph(model)
    return [graph.layer(node) for node in model.graph.node if _is_matrix(node)]


def read_precision(model: onnx.ModelProto) -> str:
    """Return the precision that most of the weights are multiplied in; that of all float weights where no layer is."""
    totals: Counter[str] = Counter()
    for layer in layer_precisions(model):
        totals[layer.precision] += max(1, layer.num_weights)
    if not totals:
        for tensor in model.graph.initializer:
            totals[_NAMES.get(tensor.data_type, "")] += int(np.prod(tensor.dims))
        del totals[""]
    return max(totals, key=lambda name: totals[name]) if totals else "fp32"


def float32_nodes(model: onnx.ModelProto) -> list[str]:
    """Return the names of all nodes that read or write float32, and of constants that hold it, sorted."""
    graph = _Graph(model)
    computed = {node.name for node in model.graph.node if graph.touches(node, TensorProto.FLOAT)}
    return sorted(
        computed | {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    )


def precision_card(model: onnx.ModelProto) -> dict[str, str]:
    """Return what a file's metadata says of its precision: `precision`, `opset`, and as JSON `precision_by_layer`.

    fp16 and bf16 files list in `float32_nodes` what is not in that precision.
    """
    precision = read_precision(model)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    by_layer = {layer.name: layer.precision for layer in layer_precisions(model)}
    card = {"precision": precision, "opset": str(opset), "precision_by_layer": json.dumps(by_layer)}
    return card | ({"float32_nodes": json.dumps(float32_nodes(model))} if precision in ("fp16", "bf16") else {})


def require_precision(model: onnx.ModelProto, claimed: str, *, name: str = "") -> None:
    """Refuse a file that is not what it is called.

    `fp32`, `fp16`, `bf16`: all matrix layers have it; in the last two nothing else is float32 but what the file's card
    lists. `int8`: all matrix layers but those that the card lists in `float_layers`.

    Args:
        model: parsed, with its card.
        claimed: what it should be.
        name: of the file, for the error.

    Raises:
        ExportError: names the layers that are something else.
    """
    card = {entry.key: entry.value for entry in model.metadata_props}
    label = f"{name}: " if name else ""
    found = read_precision(model)
    layers = layer_precisions(model)
    if found != claimed:
        raise ExportError(
            f"{label}wanted {claimed}, but most of its weights are multiplied in {found} ({_counted(layers)}). "
            "Export it again; a file's name proves nothing."
        )
    allowed = set(names_in(card, "float_layers" if claimed == "int8" else "float32_nodes"))
    others = [layer.name for layer in layers if layer.precision != claimed and layer.name not in allowed]
    if claimed in ("fp16", "bf16"):
        others += [node for node in float32_nodes(model) if node not in allowed and node not in others]
    if others:
        raise ExportError(
            f"{label}wanted {claimed} in every layer, found {len(others)} that are not and that its card does not "
            f"list: {', '.join(others[:5])}{', ...' if len(others) > 5 else ''}. Export it again."
        )


def names_in(card: Mapping[str, str], key: str) -> list[str]:
    """Return the list of names that a file's card has under `key`; empty without one. ExportError: no such list."""
    try:
        names = json.loads(card.get(key, "[]"))
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list):
        raise ExportError(f"wanted a JSON list of names in the card's `{key}`, found {card[key]!r:.80}")
    return [str(name) for name in names]


def _counted(layers: list[LayerPrecision]) -> str:
    counts = Counter(layer.precision for layer in layers)
    return ", ".join(f"{count} layers {name}" for name, count in counts.most_common()) or "no matrix layer"


def _is_matrix(node: onnx.NodeProto) -> bool:
    return node.op_type in MATRIX_OPERATORS | _FUSED_OPERATORS | _INT8_OPERATORS


class _Graph:
    """A graph with the maker and the type of each of its tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._types = {name: tensor.data_type for name, tensor in self._constants.items()}
        self._types |= {value.name: value.type.tensor_type.elem_type for value in _values(model)}

    def layer(self, node: onnx.NodeProto) -> LayerPrecision:
        weight = self._constant(node.input[1]) if len(node.input) > 1 else None
        size = int(np.prod(weight.dims)) if weight is not None else 0
        # A name that is no UTF-8 comes as bytes.
        name = node.name if isinstance(node.name, str) else repr(node.name)
        return LayerPrecision(name=name, operator=node.op_type, precision=self._precision(node), num_weights=size)

    def touches(self, node: onnx.NodeProto, kind: int) -> bool:
        return any(self._types.get(name) == kind for name in (*node.input, *node.output) if name)

    def _precision(self, node: onnx.NodeProto) -> str:
        if node.op_type in _INT8_OPERATORS:
            return "int8"
        if len(node.input) < 2:
            return "unknown"
        if all(self._is_dequantized(name) for name in node.input[:2]):
            return "int8"
        return _NAMES.get(self._types.get(node.input[1], 0), "unknown")

    def _is_dequantized(self, name: str) -> bool:
        makers = (maker for _, maker in self._behind(name))
        maker = next((maker for maker in makers if maker.op_type not in _PASS_ON), None)
        return maker is not None and maker.op_type == "DequantizeLinear"

    def _constant(self, name: str) -> onnx.TensorProto | None:
        for made, maker in self._behind(name):
            if made in self._constants:
                break
            if maker.op_type not in _PASS_ON | {"DequantizeLinear", "Cast"} or not maker.input:
                return None
            name = maker.input[0]
        return self._constants.get(name)

    def _behind(self, name: str) -> Iterator[tuple[str, onnx.NodeProto]]:
        """Yield a tensor with its maker, then the first input of that, and so on; a circle ends where it closes."""
        passed = set[str]()
        while name in self._makers and name not in passed:
            passed.add(name)
            yield name, self._makers[name]
            if not self._makers[name].input:
                return
            name = self._makers[name].input[0]


def _values(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    """Yield the type of all that is computed, as far as inference knows it; an optimised graph carries types itself."""
    graph = model.graph
    # Inference serialises all that it is given, so it is not given the weights: types do not depend on them.
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    bare.graph.CopyFrom(onnx.GraphProto(node=graph.node, input=graph.input, output=graph.output))
    bare.graph.value_info.extend(graph.value_info)
    declared = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if tensor.ByteSize() <= _SMALL_BYTES:  # axes, shapes, targets of a Reshape
            bare.graph.initializer.append(tensor)
        elif tensor.name not in declared:
            bare.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    try:
        inferred = onnx.shape_inference.infer_shapes(bare) if bare.ByteSize() < _LARGEST_BYTES else bare
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError):
        inferred = bare  # no sound graph: what it does not say itself is unknown
    yield from (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
