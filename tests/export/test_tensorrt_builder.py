"""Engines for an RTX 3070, built by TensorRT for RTX with no GPU in the machine."""

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from eightgig.core.errors import ExportError
from eightgig.core.files import sha256_of
from eightgig.export.half import to_half
from eightgig.export.int8.calibration import calibrate
from eightgig.export.int8.lint import lint_int8_trt
from eightgig.export.int8.parameters import QuantizeParameters
from eightgig.export.int8.quantizer import quantize
from eightgig.export.int8.records import Int8Recipe
from eightgig.export.onnx import dump_onnx, load_onnx
from eightgig.export.tensorrt.builder import build_engine
from eightgig.export.tensorrt.files import read_engine, write_engine
from eightgig.export.tensorrt.layers import require_engine_precision
from eightgig.export.tensorrt.records import BatchProfile, EngineRequest, ShapeProfile

pytest.importorskip("tensorrt_rtx")

NUM_MATRIX_NODES = 131  # of EfficientNet-B3: 130 convolutions and the classifier
SIDE = 300


def export_quickly(network: nn.Module) -> bytes:
    """The same operators as `export_onnx`, by torch's older exporter, which takes a quarter of the time for B3."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its age
        torch.onnx.export(
            network.eval(),
            (torch.zeros(2, 3, SIDE, SIDE),),
            file,  # type: ignore[arg-type]  # the older exporter takes open files
            dynamo=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=17,
        )
    return dump_onnx(onnx.load_from_string(file.getvalue()), {})


@pytest.fixture(scope="module")
def networks() -> dict[str, bytes]:
    """EfficientNet-B3 in the three precisions, with random weights: types and layers do not depend on them."""
    import torchvision

    network = torchvision.models.efficientnet_b3(weights=None, num_classes=7)
    fp32 = export_quickly(network)
    images_N3HW = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE), dtype=np.float32)
    parameters = QuantizeParameters(calibration_images=1, methods=("minmax",))
    calibration = calibrate(fp32, [{"images": images_N3HW}], parameters=parameters)
    int8 = quantize(calibration, Int8Recipe(target="int8_trt", method="minmax", weight_type="int8"))
    lint_int8_trt(load_onnx(int8))
    return {"fp32": fp32, "fp16": to_half(fp32), "int8": int8}


@pytest.mark.parametrize(
    ("precision", "types"),
    [
        ("fp32", {"correlation", "runtime_fusion"}),
        ("fp16", {"correlation", "runtime_fusion", "gemm"}),
        ("int8", {"correlation", "gemm"}),
    ],
)
def test_efficientnet_b3_becomes_an_engine_for_the_rtx_3070(
    precision: str, types: set[str], networks: dict[str, bytes], tmp_path: Any
) -> None:
    engine = build_engine(networks[precision], EngineRequest(workspace_bytes=1 << 30), claimed=precision)
    manifest = engine.manifest
    assert manifest.build_seconds <= 10
    assert manifest.matrix_layers_by_precision == {precision: NUM_MATRIX_NODES}
    assert {layer.layer_type for layer in manifest.layers if layer.is_matrix} == types
    named = [name for layer in manifest.layers if layer.is_matrix for name in layer.onnx_layers]
    nodes = [n.name for n in load_onnx(networks[precision]).graph.node if n.op_type in ("Conv", "Gemm")]
    assert (len(nodes), set(nodes) - set(named)) == (NUM_MATRIX_NODES, set())
    assert (manifest.unproven_nodes, manifest.exempt_nodes, manifest.changed_nodes) == ((), (), {})
    assert (manifest.toolkit, manifest.compute_capability, manifest.gpu) == ("tensorrt_rtx", (8, 6), None)
    assert manifest.onnx_sha256 == sha256_of(networks[precision])
    (images,) = manifest.inputs
    assert images.profile == ShapeProfile(smallest=(1, 3, 300, 300), usual=(1, 3, 300, 300), largest=(8, 3, 300, 300))
    assert [(output.name, output.shape) for output in manifest.outputs] == [("logits", (-1, 7))]
    write_engine(tmp_path / "b3.engine", engine)
    assert read_engine(tmp_path / "b3.engine") == engine


def make_graph(nodes: list[onnx.NodeProto], shape: list[Any], *, half: bool = False) -> bytes:
    """A file with the input `x`, an 8 x 8 weight `w`, and the output `y`."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    weight = np.eye(8, dtype=np.float16 if half else np.float32)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, [None] * len(shape))],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def product(inputs: tuple[str, str] = ("x", "w")) -> onnx.NodeProto:
    return helper.make_node("MatMul", inputs, ["y"], name="product")


def test_a_file_that_is_not_in_the_claimed_precision_is_refused() -> None:
    with pytest.raises(
        ExportError, match=r"the ONNX file: wanted fp16, but most of its weights are multiplied in fp32"
    ):
        build_engine(make_graph([product()], ["batch", 8]), claimed="fp16")


def test_the_layers_of_an_fp32_engine_refuse_the_name_fp16() -> None:
    engine = build_engine(make_graph([product()], ["batch", 8]))
    assert engine.manifest.precision == "fp32"
    with pytest.raises(
        ExportError, match=r"wanted an engine in fp16, found 1 of its 1 matrix layers .*product \(fp32\)"
    ):
        require_engine_precision(engine.manifest.layers, "fp16")


def make_mixed(last: onnx.NodeProto | None = None) -> onnx.ModelProto:
    """An fp16 file whose second product, `decode`, is in float32; `last` may cast its output `c`."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="product"),
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT, name="up"),
        helper.make_node("MatMul", ["b", "v"], ["c" if last else "y"], name="decode"),
    ]
    model = onnx.load_from_string(make_graph(nodes + ([last] if last else []), ["batch", 8], half=True))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full((8, 4), 1 / 3, dtype=np.float32), "v"))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16 if last else TensorProto.FLOAT
    return model


def test_a_layer_that_the_card_lists_may_differ() -> None:
    plain = make_mixed().SerializeToString()
    manifest = build_engine(dump_onnx(make_mixed(), {}), claimed="fp16").manifest  # its card lists what is float32
    assert (manifest.exempt_nodes, manifest.changed_nodes) == (("decode",), {})
    assert manifest.matrix_layers_by_precision == {"fp16": 1, "fp32": 1}
    with pytest.raises(ExportError, match=r"wanted fp16 in every layer, found .*decode"):
        build_engine(plain, claimed="fp16")


def test_a_product_that_tensorrt_narrows_is_told() -> None:
    """Its types are not as strong as it says: between two casts it drops float32 (seen in 1.7.1)."""
    mixed = make_mixed(helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT16, name="down"))
    manifest = build_engine(dump_onnx(mixed, {}), claimed="fp16").manifest
    (decode,) = [layer for layer in manifest.layers if "decode" in layer.onnx_layers and layer.is_matrix]
    assert manifest.changed_nodes == ({} if decode.precision == "fp32" else {"decode": decode.precision})
    assert manifest.exempt_nodes == ("decode",)


def test_attention_counts_though_neither_factor_is_a_weight() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1], name="turn"),
        helper.make_node("MatMul", ["x", "t"], ["y"], name="scores"),
    ]
    manifest = build_engine(make_graph(nodes, ["batch", 16, 8], half=True)).manifest
    assert manifest.precision == "fp16"
    assert manifest.matrix_layers_by_precision == {"fp16": 1}
    assert manifest.unproven_nodes == ()


def test_free_dimensions_beside_the_batch_want_their_shapes() -> None:
    file = make_graph([product()], ["batch", "length", 8])
    with pytest.raises(ExportError, match=r"input x \?x\?x8 has free dimensions beside the batch: give its smallest"):
        build_engine(file)
    profile = ShapeProfile(smallest=(1, 4, 8), usual=(1, 16, 8), largest=(4, 64, 8))
    assert build_engine(file, EngineRequest(shapes={"x": profile})).manifest.inputs[0].profile == profile
    with pytest.raises(ExportError, match=r"wanted shapes for the inputs x, found some for ids"):
        build_engine(file, EngineRequest(shapes={"ids": profile}))


@pytest.mark.parametrize("sizes", [((1, 4, 9), (1, 4, 9), (1, 4, 9)), ((2, 4, 8), (1, 4, 8), (4, 4, 8)), ((1,),) * 3])
def test_shapes_that_do_not_fit_are_refused(sizes: tuple[tuple[int, ...], ...]) -> None:
    smallest, usual, largest = sizes
    request = EngineRequest(shapes={"x": ShapeProfile(smallest=smallest, usual=usual, largest=largest)})
    with pytest.raises(ExportError, match=r"input x is \?x\?x8: wanted smallest <= usual <= largest of that form"):
        build_engine(make_graph([product()], ["batch", "length", 8]), request)


def test_a_batch_profile_reaches_the_engine_and_a_fixed_input_has_none() -> None:
    free = build_engine(
        make_graph([product()], ["batch", 8]), EngineRequest(batch=BatchProfile(smallest=2, usual=4, largest=16))
    )
    assert free.manifest.inputs[0].profile == ShapeProfile(smallest=(2, 8), usual=(4, 8), largest=(16, 8))
    assert build_engine(make_graph([product()], [2, 8])).manifest.inputs[0].profile is None


def test_an_operator_that_tensorrt_lacks_is_named() -> None:
    nodes = [helper.make_node("Det", ["x"], ["d"], name="determinant"), product(("d", "w"))]
    with pytest.raises(
        ExportError, match=r"TensorRT for RTX [\d.]+ cannot take this ONNX file: Det determinant: .*leave"
    ):
        build_engine(make_graph(nodes, ["batch", 8, 8]))


@pytest.mark.parametrize("capability", [(9, 0), (6, 1)])
def test_a_card_without_kernels_is_told_before_anything_is_built(capability: tuple[int, int]) -> None:
    with pytest.raises(ExportError, match=r"TensorRT for RTX [\d.]+ builds for .*SM86.*, not for sm_"):
        build_engine(b"", EngineRequest(compute_capability=capability))


def test_weights_in_another_file_are_refused(tmp_path: Any) -> None:
    model = onnx.load_from_string(make_graph([product()], ["batch", 8]))
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../outside.bin")
    model.graph.initializer[0].ClearField("raw_data")
    with pytest.raises(
        ExportError, match=r"wanted a self-contained ONNX file, found 1 tensors with their data in another"
    ):
        build_engine(model.SerializeToString())


@pytest.fixture
def build_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Any]:
    """A build whose log holds other messages than TensorRT's."""

    def build(messages: list[str]) -> Any:
        monkeypatch.setattr("eightgig.export.tensorrt.log.BuildLog.messages", messages)
        return build_engine(make_graph([product()], ["batch", 8]))

    return build


def test_a_log_without_layers_is_no_proof(build_with: Callable[[list[str]], Any]) -> None:
    """Then the inspector is asked, which needs the card."""
    if torch.cuda.is_available():
        pytest.skip("the inspector answers here")
    with pytest.raises(ExportError, match="cannot read the engine that it has just built"):
        build_with(["nothing about layers"])
