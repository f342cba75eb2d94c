"""A file must be what it is called: each lie is made by hand and must be refused."""

import json

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from eightgig.core.errors import ExportError
from eightgig.export.half import to_half
from eightgig.export.onnx import dump_onnx, export_onnx, load_onnx
from eightgig.export.precision import float32_nodes, layer_precisions, precision_card, read_precision, require_precision

WEIGHTS = np.ones((4, 3, 1, 1), np.float32)


def conv_graph(weights: NDArray[np.generic], *nodes: onnx.NodeProto, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """One convolution of `x` with `w`; other nodes come before it."""
    x, y = (helper.make_tensor_value_info(name, kind, ["n", size, 2, 2]) for name, size in (("x", 3), ("y", 4)))
    last = (
        [] if any(node.op_type == "Conv" for node in nodes) else [helper.make_node("Conv", ["x", "w"], ["y"], "conv")]
    )
    graph = helper.make_graph([*nodes, *last], "g", [x], [y], [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def card_of(file: bytes) -> dict[str, str]:
    return {entry.key: entry.value for entry in load_onnx(file).metadata_props}


@pytest.fixture(scope="module")
def half_file() -> bytes:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    return to_half(export_onnx(network, {"images": torch.randn(1, 3, 2, 2)}, card={"model": "m"}))


def test_an_fp16_file_lists_its_two_casts_and_computes_all_else_in_fp16(half_file: bytes) -> None:
    model = load_onnx(half_file)
    card = card_of(half_file)
    operators = {node.name: node.op_type for node in model.graph.node}
    assert (card["precision"], card["model"]) == ("fp16", "m")
    assert [operators[name] for name in json.loads(card["float32_nodes"])] == ["Cast", "Cast"]
    assert set(json.loads(card["precision_by_layer"]).values()) == {"fp16"}
    assert {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)} == {
        TensorProto.FLOAT
    }
    require_precision(model, "fp16")


def test_a_file_named_fp16_that_holds_fp32_is_refused() -> None:
    with pytest.raises(ExportError, match=r"fp16\.onnx: wanted fp16, but most .* multiplied in fp32 \(1 layers fp32\)"):
        require_precision(conv_graph(WEIGHTS), "fp16", name="fp16.onnx")


def test_fp16_weights_that_are_cast_to_fp32_are_fp32() -> None:
    cast = helper.make_node("Cast", ["w"], ["wide"], "widen", to=TensorProto.FLOAT)
    model = conv_graph(WEIGHTS.astype(np.float16), cast, helper.make_node("Conv", ["x", "wide"], ["y"], "conv"))
    assert read_precision(model) == "fp32"
    with pytest.raises(ExportError, match="wanted fp16"):
        require_precision(model, "fp16")


def test_one_float32_node_that_the_card_does_not_list_is_refused(half_file: bytes) -> None:
    model = load_onnx(half_file)
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    widened = [
        helper.make_node("Cast", [conv.input[0]], ["x32"], "up_x", to=TensorProto.FLOAT),
        helper.make_node("Cast", [conv.input[1]], ["w32"], "up_w", to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x32", "w32"], ["y32"], "sneaked_in"),
        helper.make_node("Cast", ["y32"], [conv.output[0]], "down", to=TensorProto.FLOAT16),
    ]
    position = list(model.graph.node).index(conv)
    nodes = [*list(model.graph.node)[:position], *widened, *list(model.graph.node)[position + 1 :]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with pytest.raises(ExportError, match="found 4 that are not and that its card does not list: sneaked_in, "):
        require_precision(model, "fp16")


def test_a_quantize_node_beside_float_weights_makes_no_int8() -> None:
    model = conv_graph(WEIGHTS)
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "s"))
    model.graph.node.append(helper.make_node("QuantizeLinear", ["x", "s"], ["q"], "q"))
    assert read_precision(model) == "fp32"


def test_layers_tell_their_weights() -> None:
    (layer,) = layer_precisions(conv_graph(WEIGHTS))
    assert layer.model_dump() == {"name": "conv", "operator": "Conv", "precision": "fp32", "num_weights": 12}


def test_a_graph_without_matrix_layers_is_what_its_constants_are() -> None:
    model = conv_graph(WEIGHTS.astype(np.float16), kind=TensorProto.FLOAT16)
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Add", ["x", "w"], ["y"], "add"))
    assert read_precision(model) == "fp16"
    assert float32_nodes(model) == []


def test_the_card_is_read_from_the_graph_whatever_it_said_before() -> None:
    card = card_of(dump_onnx(conv_graph(WEIGHTS), {"precision": "int8", "model": "m"}))
    assert card == {"model": "m", **precision_card(conv_graph(WEIGHTS))}
    assert (card["precision"], card["opset"], card["precision_by_layer"]) == ("fp32", "20", '{"conv": "fp32"}')


def test_a_card_that_is_no_json_is_refused() -> None:
    model = conv_graph(WEIGHTS.astype(np.float16), kind=TensorProto.FLOAT16)
    helper.set_model_props(model, {"float32_nodes": "conv,"})
    with pytest.raises(ExportError, match="wanted a JSON list of names in the card's `float32_nodes`, found 'conv,'"):
        require_precision(model, "fp16")


def two_layers(weight: float = 1.0) -> bytes:
    model = conv_graph(WEIGHTS * weight)
    model.graph.node[0].output[0] = "middle"
    model.graph.node.append(helper.make_node("Sigmoid", ["middle"], ["y"], "decode"))
    return dump_onnx(model, {})


def test_named_nodes_stay_in_float32_and_are_listed() -> None:
    file = to_half(two_layers(), float_nodes=["decode"])
    require_precision(load_onnx(file), "fp16")
    assert "decode" in json.loads(card_of(file)["float32_nodes"])
    assert "decode" not in json.loads(card_of(to_half(two_layers()))["float32_nodes"])
    with pytest.raises(ExportError, match="wanted nodes of the graph to stay in float32, found no boxes"):
        to_half(two_layers(), float_nodes=["boxes"])


def test_weights_beyond_half_precision_are_refused_not_cut() -> None:
    with pytest.raises(ExportError, match="the weights `w` hold values beyond 65504"):
        to_half(two_layers(weight=1e5))


@pytest.mark.parametrize("never", [float("-inf"), float(np.finfo(np.float32).min)])
def test_what_attention_adds_to_the_unseen_may_be_cut(never: float) -> None:
    assert read_precision(load_onnx(to_half(two_layers(weight=never)))) == "fp16"


def test_what_is_not_float32_is_not_converted_again(half_file: bytes) -> None:
    with pytest.raises(ExportError, match="wanted fp32, but most of its weights are multiplied in fp16"):
        to_half(half_file)
