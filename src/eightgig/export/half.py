"""A float32 ONNX file in half precision that still takes and gives float32, so that callers need not know."""

from collections.abc import Collection, Iterator

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from eightgig.core.errors import ExportError
from eightgig.export.onnx import dump_onnx, load_onnx
from eightgig.export.precision import require_precision

_LARGEST = float(np.finfo(np.float16).max)
# Attention adds this much or infinity to what may not be seen; cut to half precision, it still weighs nothing.
_NEVER = float(np.finfo(np.float32).max)


def to_half(onnx_fp32: bytes, *, float_nodes: Collection[str] = ()) -> bytes:
    """Return the file with weights and computation in fp16 between a cast of each input and one of each output.

    It is made from the float32 graph and not from a network in half precision, whose BatchNorm would be folded in half
    precision: that doubled the largest difference of a probability on EfficientNet-Lite0 (0.012 against 0.006, on 156
    drawn flowers).

    Args:
        onnx_fp32: a float32 file of `export_onnx`.
        float_nodes: names of nodes that stay in float32, for example those that turn a detector's outputs into boxes of
            hundreds of pixels; they and the casts around them are listed in the card's `float32_nodes`.

    Raises:
        ExportError: not such a file, an unknown node, or a weight that half precision cannot hold.
    """
    model = load_onnx(onnx_fp32)
    require_precision(model, "fp32")
    unknown = set(float_nodes) - {node.name for node in model.graph.node}
    if unknown:
        raise ExportError(f"fp16: wanted nodes of the graph to stay in float32, found no {', '.join(sorted(unknown))}")
    too_large = next(_too_large(model), None)
    if too_large:
        raise ExportError(
            f"fp16: the weights `{too_large}` hold values beyond {_LARGEST:.0f}, the largest of half precision. "
            "Name the nodes that use them in float_nodes, or keep the float32 file."
        )
    card = {entry.key: entry.value for entry in model.metadata_props}
    converted = OnnxModel(
        convert_float_to_float16(
            model, keep_io_types=True, node_block_list=list(float_nodes), disable_shape_infer=False
        )
    )
    converted.topological_sort()
    _join_float32(converted.model.graph)
    file = dump_onnx(converted.model, card)
    require_precision(load_onnx(file), "fp16")
    return file


def _join_float32(graph: onnx.GraphProto) -> None:
    """Let float32 pass straight between two nodes that stayed in it: the converter rounds it to fp16 on the way."""
    makers = {name: node for node in graph.node for name in node.output}
    narrowed = {node.output[0]: node.input[0] for node in graph.node if _casts_to(node, TensorProto.FLOAT16)}
    for node in graph.node:
        if _casts_to(node, TensorProto.FLOAT) and node.input[0] in narrowed:  # also the last one, before the output
            node.input[0] = narrowed[node.input[0]]
        for position, name in enumerate(node.input):
            widened = makers.get(name)
            if widened is not None and _casts_to(widened, TensorProto.FLOAT) and widened.input[0] in narrowed:
                node.input[position] = narrowed[widened.input[0]]
    _drop_unread_casts(graph)
    del graph.value_info[:]  # it says fp16 of what now is float32


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == kind


def _drop_unread_casts(graph: onnx.GraphProto) -> None:
    read = {value.name for value in graph.output}
    for node in reversed(graph.node):
        if node.op_type == "Cast" and node.output[0] not in read:
            continue
        read.update(node.input)
    kept = [node for node in graph.node if node.op_type != "Cast" or node.output[0] in read]
    del graph.node[:]
    graph.node.extend(kept)


def _too_large(model: onnx.ModelProto) -> Iterator[str]:
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            values = values[np.isfinite(values) & (np.abs(values) < _NEVER)]
            if values.size and float(np.abs(values).max()) > _LARGEST:
                yield tensor.name
