"""ONNX files whose weights lie in another file, at any depth of their graphs: refused, and nothing is opened.

At the top of a graph that is in tests/export/test_onnx.py; that a runner refuses a silent fall-back, in test_runners.py
beside it.
"""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from eightgig.core.errors import ExportError
from eightgig.export.onnx import load_onnx
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner

OUTSIDE = "/etc/passwd"


def tensor(name="w"):
    return numpy_helper.from_array(np.ones((2, 2), np.float32), name)


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model_of(*nodes, initializers=(), **more):
    graph = helper.make_graph(list(nodes), "g", [value("x", 2, 2)], [value("y", 2, 2)], list(initializers), **more)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def branch(name):
    product = helper.make_node("MatMul", ["x", "inner"], [name])
    return helper.make_graph([product], name, [], [value(name, 2, 2)], [tensor("inner")])


def in_the_graph():
    return model_of(helper.make_node("MatMul", ["x", "w"], ["y"]), initializers=[tensor()])


def in_a_constant():
    return model_of(
        helper.make_node("Constant", [], ["w"], value=tensor()), helper.make_node("MatMul", ["x", "w"], ["y"])
    )


def in_a_branch():
    condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
    return model_of(condition, helper.make_node("If", ["c"], ["y"], then_branch=branch("t"), else_branch=branch("e")))


def in_a_sparse_tensor():
    indices = numpy_helper.from_array(np.array([0]), "at")
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(np.ones(1, np.float32), "w"), indices, [2, 2])
    return model_of(helper.make_node("MatMul", ["x", "w"], ["y"]), sparse_initializer=[sparse])


def in_a_function():
    model = model_of(helper.make_node("Mine", ["x"], ["y"], domain="mine"))
    inside = [helper.make_node("Constant", [], ["w"], value=tensor()), helper.make_node("MatMul", ["x", "w"], ["y"])]
    model.functions.append(helper.make_function("mine", "Mine", ["x"], ["y"], inside, [helper.make_opsetid("", 20)]))
    return model


PLACES = (in_the_graph, in_a_constant, in_a_branch, in_a_sparse_tensor, in_a_function)


def all_tensors(message):
    """Every tensor in a message, wherever protobuf keeps it."""
    if isinstance(message, TensorProto):
        yield message
        return
    for field, held in message.ListFields():
        if field.message_type is not None:
            for one in held if field.is_repeated else [held]:
                yield from all_tensors(one)


@pytest.mark.parametrize("make", PLACES, ids=lambda make: make.__name__)
def test_weights_elsewhere_are_refused_at_any_depth(make):
    model = make()
    load_onnx(model.SerializeToString())
    for found in all_tensors(model):
        moved = onnx.ModelProto()
        moved.CopyFrom(model)
        place = next(other for other in all_tensors(moved) if other == found)
        place.ClearField("raw_data")
        place.data_location = TensorProto.EXTERNAL
        place.external_data.add(key="location", value=OUTSIDE)
        with pytest.raises(
            ExportError, match="self-contained ONNX file, found 1 tensors with their data in another file"
        ):
            load_onnx(moved.SerializeToString())
        with pytest.raises(ExportError, match="self-contained"):
            OnnxRuntimeRunner(moved.SerializeToString())


def test_a_graph_that_goes_round_in_circles_comes_to_an_end():
    """No sound file has one; what reads the precision of a layer follows its factors backwards."""
    from eightgig.export.precision import layer_precisions

    model = model_of(
        helper.make_node("Identity", ["b"], ["a"]),
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"], "product"),
        helper.make_node("MatMul", ["a"], ["z"], "lonely"),
        helper.make_node("MatMul", [], ["q"], "lonelier"),
    )
    assert [layer.precision for layer in layer_precisions(model)] == ["unknown"] * 3


def test_a_refusal_by_onnx_runtime_is_told_with_the_way_out():
    model = model_of(helper.make_node("NoSuchOperator", ["x"], ["y"]))
    with pytest.raises(ExportError, match=r"wanted a network that ONNX Runtime runs on CPUExecutionProvider, but it"):
        OnnxRuntimeRunner(model.SerializeToString())
