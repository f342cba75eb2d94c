"""Precision as it is read from small graphs made by hand, and what is said of a file that is not what it is called."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from eightgig.core.errors import ExportError
from eightgig.export.precision import layer_precisions, precision_card, read_precision, require_precision

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def graph_of(*nodes, constants=(), inputs=(("x", FLOAT, (2, 3)),), functions=()):
    """A model with these nodes; `constants` are tensors, or pairs of a name and an array."""
    tensors = [one if isinstance(one, TensorProto) else numpy_helper.from_array(one[1], one[0]) for one in constants]
    values = [helper.make_tensor_value_info(*each) for each in inputs]
    graph = helper.make_graph(nodes, "g", values, [helper.make_empty_tensor_value_info("y")], tensors)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)


def product(factors, name="product", out="y", operator="MatMul"):
    return helper.make_node(operator, list(factors), [out], name)


def dequantized(name):
    return helper.make_node("DequantizeLinear", [f"{name}_q", "scale"], [name], f"widen_{name}")


QUANTIZED = (("w_q", np.ones((3, 4), np.int8)), ("scale", np.array(0.5, np.float32)))
BOTH_QUANTIZED = {"constants": QUANTIZED, "inputs": (("x_q", TensorProto.INT8, (2, 3)),)}


def precisions(model):
    return [(layer.name, layer.precision, layer.num_weights) for layer in layer_precisions(model)]


def refusal(model, claimed, **more):
    with pytest.raises(ExportError) as caught:
        require_precision(model, claimed, **more)
    return str(caught.value)


def test_a_product_of_two_dequantized_factors_is_int8_whatever_its_bias_is():
    nodes = [dequantized("x"), dequantized("w"), product("xwb", operator="Gemm")]
    model = graph_of(*nodes, **BOTH_QUANTIZED | {"constants": (*QUANTIZED, ("b", np.ones(4, np.float32)))})
    assert precisions(model) == [("product", "int8", 12)]
    require_precision(model, "int8")


def test_the_dequantized_weights_may_be_turned_before_they_are_multiplied():
    turn = helper.make_node("Transpose", ["w"], ["turned"], "turn", perm=[1, 0])
    constants = (("w_q", np.ones((4, 3), np.int8)), QUANTIZED[1])
    nodes = [dequantized("x"), dequantized("w"), turn, product(("x", "turned"))]
    assert precisions(graph_of(*nodes, **BOTH_QUANTIZED | {"constants": constants})) == [("product", "int8", 12)]


def test_one_dequantized_factor_makes_no_int8():
    model = graph_of(dequantized("w"), product("xw"), constants=QUANTIZED)
    assert precisions(model) == [("product", "fp32", 12)]
    assert refusal(model, "int8") == (
        "wanted int8, but most of its weights are multiplied in fp32 (1 layers fp32). Export it again; a file's name "
        "proves nothing."
    )


def test_float_layers_of_an_int8_file_stand_in_its_card():
    nodes = [dequantized("x"), dequantized("w"), product("xw", out="middle"), product(("middle", "few"), "last")]
    model = graph_of(*nodes, **BOTH_QUANTIZED | {"constants": (*QUANTIZED, ("few", np.ones((4, 1), np.float32)))})
    expected = (
        "int8.onnx: wanted int8 in every layer, found 1 that are not and that its card does not list: last. "
        "Export it again."
    )
    assert refusal(model, "int8", name="int8.onnx") == expected
    helper.set_model_props(model, {"float32_nodes": '["last"]'})
    assert refusal(model, "int8", name="int8.onnx") == expected
    helper.set_model_props(model, {"float_layers": '["last"]'})
    require_precision(model, "int8")


@pytest.mark.parametrize(("count", "named"), [(5, "n0, n1, n2, n3, n4"), (6, "n0, n1, n2, n3, n4, ...")])
def test_five_nodes_are_named(count, named):
    wide = [helper.make_node("Identity", ["wide"], [f"out{number}"], f"n{number}") for number in range(count)]
    inputs = (("x", HALF, (2, 3)), ("wide", FLOAT, (1,)))
    model = graph_of(product("xw"), *wide, constants=[("w", np.ones((3, 4), np.float16))], inputs=inputs)
    assert refusal(model, "fp16") == (
        f"wanted fp16 in every layer, found {count} that are not and that its card does not list: {named}. "
        "Export it again."
    )


def test_layers_are_counted_by_what_they_are():
    nodes = [
        product("xw", "first", "a"),
        product("xw", "second", "b"),
        helper.make_node("Cast", ["x"], ["x16"], "narrow", to=HALF),
        product(("x16", "w16"), "third"),
    ]
    constants = [("w", np.ones((3, 4), np.float32)), ("w16", np.ones((3, 1), np.float16))]
    model = graph_of(*nodes, constants=constants)
    assert "multiplied in fp32 (2 layers fp32, 1 layers fp16)." in refusal(model, "bf16")


def test_a_graph_without_layers_says_so():
    model = graph_of(helper.make_node("Add", ["x", "x"], ["y"], "add"))
    assert "wanted fp16, but most of its weights are multiplied in fp32 (no matrix layer)." in refusal(model, "fp16")


def test_bfloat16_is_known_and_its_card_lists_what_is_float32():
    weights = helper.make_tensor("w", TensorProto.BFLOAT16, [3, 4], [1.0] * 12)
    cast = helper.make_node("Cast", ["x"], ["x16"], "narrow", to=TensorProto.BFLOAT16)
    model = graph_of(cast, product(("x16", "w")), constants=[weights])
    assert precision_card(model) == {
        "precision": "bf16",
        "opset": "20",
        "precision_by_layer": json.dumps({"product": "bf16"}),
        "float32_nodes": '["narrow"]',
    }


def test_weights_too_large_to_be_looked_at_have_their_type():
    # Types are worked out without weights of more than 1 KiB; what is computed from them has a type all the same.
    turn = helper.make_node("Transpose", ["w"], ["turned"], "turn")
    constants = [("w", np.ones((400, 3), np.float16))]
    model = graph_of(turn, product(("x", "turned")), constants=constants, inputs=(("x", HALF, (2, 3)),))
    assert precisions(model) == [("product", "fp16", 1200)]


def test_weights_that_are_cast_are_counted_as_what_they_become():
    cast = helper.make_node("Cast", ["w"], ["wide"], "widen", to=FLOAT)
    model = graph_of(cast, product(("x", "wide")), constants=[("w", np.ones((3, 4), np.float16))])
    assert precisions(model) == [("product", "fp32", 12)]


def test_types_are_followed_through_functions_of_the_model():
    opset = [helper.make_opsetid("", 20)]
    twice = helper.make_function("mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opset)
    nodes = [helper.make_node("Twice", ["w"], ["doubled"], "twice", domain="mine"), product(("x", "doubled"))]
    model = graph_of(*nodes, constants=[("w", np.ones((3, 4), np.float32))], functions=[twice])
    assert precisions(model) == [("product", "fp32", 0)]  # what a function computes is no constant


def test_what_the_graph_does_not_tell_is_unknown():
    circle = [helper.make_node("Identity", [one], [other], f"to_{other}") for one, other in ("ab", "ba")]
    assert precisions(graph_of(*circle, product("xa"))) == [("product", "unknown", 0)]
    assert precisions(graph_of(product("x"))) == [("product", "unknown", 0)]
    assert read_precision(graph_of(product("x"))) == "unknown"


def test_a_name_that_is_no_text_is_written_out():
    file = graph_of(product("xw", "name"), constants=[("w", np.ones((3, 4), np.float32))]).SerializeToString()
    model = onnx.ModelProto.FromString(file.replace(b"name", b"n\xffme"))
    assert precisions(model) == [(r"b'n\xffme'", "fp32", 12)]
