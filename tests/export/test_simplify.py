import numpy as np
import onnx
import onnxslim
import pytest
from onnx import TensorProto, helper, numpy_helper

from eightgig.core.errors import ExportError
from eightgig.export.simplify import simplify

EXAMPLE = {"x": np.array([[1.0, -2.0]], np.float32)}


def graph_with_a_detour() -> onnx.ModelProto:
    """y = relu(x + (1 + 2)), with the sum left to do and an identity."""
    ones, twos = (numpy_helper.from_array(np.full(2, value, np.float32), name) for value, name in ((1, "a"), (2, "b")))
    nodes = [
        helper.make_node("Add", ["a", "b"], ["c"], "fold_me"),
        helper.make_node("Identity", ["x"], ["same"], "drop_me"),
        helper.make_node("Add", ["same", "c"], ["sum"], "add"),
        helper.make_node("Relu", ["sum"], ["y"], "relu"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "g", [x], [y], [ones, twos])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_needless_nodes_go_and_the_batch_stays_dynamic() -> None:
    slim = simplify(graph_with_a_detour(), EXAMPLE)
    assert [node.op_type for node in slim.graph.node] == ["Add", "Relu"]
    assert slim.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


def test_a_graph_with_nothing_to_drop_is_given_back_itself() -> None:
    slim = simplify(graph_with_a_detour(), EXAMPLE)
    assert simplify(slim, EXAMPLE) is slim


def test_other_answers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: onnx.ModelProto) -> onnx.ModelProto:
        del model.graph.node[-1]
        model.graph.node[-1].output[0] = "y"  # the Relu is gone: -2 + 3 stays the same, but a negative would not
        return model

    monkeypatch.setattr(onnxslim, "slim", wrong)
    with pytest.raises(ExportError, match=r"answers otherwise \(largest difference 5.0e\+00, allowed 1e-04\)"):
        simplify(graph_with_a_detour(), {"x": np.array([[-8.0, 1.0]], np.float32)})


def test_a_simplifier_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxslim, "slim", lambda _: 1 / 0)
    model = graph_with_a_detour()
    assert simplify(model, EXAMPLE) is model
