"""Layers and their precision, from lines in the form that TensorRT for RTX 1.7.1 logs and the inspector's JSON."""

import json

import pytest

from eightgig.core.errors import ExportError
from eightgig.export.tensorrt.layers import (
    changed_nodes,
    layers_from_inspector,
    layers_from_log,
    require_engine_precision,
    unproven_nodes,
)
from eightgig.export.tensorrt.records import EngineLayer


def tensor(datatype: str, shape: str = "-1,8,4,4") -> str:
    return (
        f"{{ Name: t, Dimensions: [{shape}], Strides: [1,1,1,1], StrideOrder: [3,2,1,0], Datatype: {datatype}, "
        "Format: (NHWC) Channel major format }"
    )


def line(name: str, kind: str, inputs: list[str], constants: list[str], outputs: list[str], metadata: str = "") -> str:
    parts = (" , ".join(f" {each}" for each in group) for group in (inputs, constants, outputs))
    reads, holds, writes = parts
    return (
        f"Name: {name}, LayerType: {kind}, Inputs: [{reads}], Constants: [{holds}], Outputs: [{writes}], "
        f"TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: {metadata}"
    )


def read(*lines: str) -> list[EngineLayer]:
    return list(
        layers_from_log(["Importing initializer: w", "\n".join(("Layers:", *lines, "", "Bindings:", "images"))])
    )


def convolution(datatype: str, *, name: str = "conv", writes: str | None = None) -> str:
    weight, scale = tensor(datatype, "8,8,3,3"), tensor("Float", "1")
    outputs = [tensor(writes or datatype)]
    return line(name, "correlation", [tensor(datatype)], [weight, scale, scale], outputs, f"[ONNX Layer: {name}]")


def test_a_convolution_is_read_with_all_that_the_log_says() -> None:
    metadata = "[ONNX Layer: /features/Conv]\x1f[ONNX Layer: /features/Mul]__gemm_from_conv1x1"
    (layer,) = read(
        line(
            "c",
            "correlation",
            [tensor("Half")],
            [tensor("Half", "8,8,3,3"), tensor("Float", "1")],
            [tensor("Half")],
            metadata,
        )
    )
    assert layer == EngineLayer(
        name="c",
        layer_type="correlation",
        inputs=("fp16",),
        constants=("fp16", "fp32"),
        outputs=("fp16",),
        onnx_layers=("/features/Conv", "/features/Mul"),
        is_matrix=True,
        precision="fp16",
    )


@pytest.mark.parametrize(
    ("name", "kind", "is_matrix"),
    [
        ("/Conv_myl0_3", "correlation", True),
        ("/MatMul_myl0_2", "gemm", True),
        ("/ConvTranspose_myl0_11", "deconv", True),
        ("__myl_CorrSilu_myl0_2", "runtime_fusion", True),
        ("__myl_FcAddDivErfAddMulMul_myl0_12", "runtime_fusion", True),
        ("_gemm_mha_v2_myl0_5", "kgen", True),
        ("conv + relu", "CaskConvolution", True),
        ("__myl_SiluMean_myl0_4", "kgen", False),
        ("__myl_MulMinMaxRounCastReplConc_myl0_1", "kgen", False),
        ("pool", "CaskPooling", False),
        ("Reformatting CopyNode for conv", "Reformat", False),
        ("__mye4777_0_myl0_0", "shape_call", False),
    ],
)
def test_layers_that_multiply_are_told_from_others(name: str, kind: str, is_matrix: bool) -> None:
    (layer,) = read(line(name, kind, [tensor("Float")], [], [tensor("Float")]))
    assert layer.is_matrix is is_matrix


@pytest.mark.parametrize(
    ("inputs", "constants", "precision"),
    [
        (["Half"], [("Half", "8,8"), ("Float", "1")], "fp16"),
        (["Int8"], [("Int8", "8,8"), ("Float", "1"), ("Float", "1")], "int8"),
        (["Float", "Int8"], [("Int8", "8,8")], "int8"),  # the other one is a residual
        (["Int8"], [("Float", "8,8")], "mixed"),
        (["Half", "Half"], [], "fp16"),  # attention: both factors are computed
        (["Half", "Half"], [("Float", "8")], "fp16"),  # with a bias
        (["Half", "Float"], [], "mixed"),
    ],
)
def test_precision_is_that_of_both_factors(inputs: list[str], constants: list[tuple[str, str]], precision: str) -> None:
    (layer,) = read(line("g", "gemm", [tensor(i) for i in inputs], [tensor(*c) for c in constants], [tensor("Float")]))
    assert layer.precision == precision


def test_the_mask_of_fused_attention_is_no_factor() -> None:
    inputs = [tensor("Bool"), tensor("Bool"), tensor("Half"), tensor("Half"), tensor("Half")]
    (layer,) = read(line("_gemm_mha_v2_myl0_17", "kgen", inputs, [], [tensor("Half")]))
    assert layer.is_matrix
    assert layer.precision == "fp16"


def test_other_layers_compute_in_the_widest_type_they_read() -> None:
    requantize, cast, shapes = read(
        line("__myl_MulRounCast_0", "kgen", [tensor("Int8"), tensor("Float")], [], [tensor("Int8")]),
        line("__myl_Move_1", "kgen", [], [], [tensor("Int32", "")]),
        line("__mye0", "shape_call", [], [], []),
    )
    assert (requantize.precision, cast.precision, shapes.precision) == ("fp32", "int32", "none")


def test_an_engine_that_is_silently_fp32_is_refused() -> None:
    layers = read(convolution("Half", name="/a/Conv"), convolution("Float", name="/b/Conv"))
    with pytest.raises(
        ExportError,
        match=r"wanted an engine in fp16, found 1 of its 2 matrix layers in another precision: /b/Conv \(fp32\)\. "
        "Build it from an ONNX file in fp16",
    ):
        require_engine_precision(layers, "fp16")
    require_engine_precision(layers, "fp16", exempt_nodes=["/b/Conv"])


def test_int8_counts_by_its_products_and_not_by_what_it_writes() -> None:
    require_engine_precision(read(convolution("Int8", writes="Float")), "int8")
    with pytest.raises(ExportError, match=r"wanted an engine in int8.*conv \(fp16\)"):
        require_engine_precision(read(convolution("Half", writes="Int8")), "int8")


def test_an_engine_that_tells_nothing_proves_nothing() -> None:
    assert layers_from_log(["Layer(CaskConvolution): conv"]) == ()
    with pytest.raises(
        ExportError, match="found no layer that multiplies among 1 layers: nothing proves its precision"
    ):
        require_engine_precision(read(line("__myl_Mul_0", "kgen", [tensor("Half")], [], [tensor("Half")])), "fp16")


def test_nodes_without_a_layer_are_listed() -> None:
    layers = read(convolution("Half", name="/a/Conv"), line("k", "kgen", [], [], [], "[ONNX Layer: /c/Conv]"))
    assert unproven_nodes(layers, ["/a/Conv", "/b/Conv", "/c/Conv"]) == ("/b/Conv", "/c/Conv")


def test_nodes_in_another_precision_than_the_file_are_listed() -> None:
    layers = read(convolution("Half", name="/a/Conv"), convolution("Float", name="/b/Conv"))
    assert changed_nodes(layers, {"/a/Conv": "fp32", "/b/Conv": "fp32", "/c/Conv": "fp32"}) == {"/a/Conv": "fp16"}


def inspector_tensor(datatype: str, shape: tuple[int, ...] = (1, 8, 4, 4)) -> dict[str, object]:
    return {"Name": "t", "Location": "Device", "Dimensions": shape, "Format/Datatype": datatype}


def test_the_inspector_gives_the_same_records() -> None:
    entries = [
        {
            "Name": "conv + relu",
            "LayerType": "CaskConvolution",
            "Inputs": [inspector_tensor("Channel major FP16 format where channel % 8 == 0")],
            "Outputs": [inspector_tensor("Channel major FP16 format where channel % 8 == 0")],
            "Weights": {"Type": "Half", "Count": 576},
            "Bias": {"Type": "Float", "Count": 8},
            "TacticName": "sm80_xmma_fprop",
            "Metadata": "[ONNX Layer: /a/Conv]\x1e[ONNX Layer: /a/Relu]",
        },
        {
            "Name": "/b/Conv_myl0_3",
            "LayerType": "correlation",
            "Inputs": [inspector_tensor("Thirty-two wide channel vectorized row major Int8 format")],
            "Constants": [{"Name": "w", "Dimensions": [8, 8], "Datatype": "Int8", "Format": "(Linear)"}],
            "Outputs": [inspector_tensor("Float")],
            "Metadata": "",
        },
    ]
    first, second = layers_from_inspector(json.dumps({"Layers": entries, "Bindings": ["images"]}))
    assert (first.precision, first.onnx_layers, first.constants) == ("fp16", ("/a/Conv", "/a/Relu"), ("fp16", "fp32"))
    assert (second.precision, second.outputs, second.onnx_layers) == ("int8", ("fp32",), ())


@pytest.mark.parametrize("text", ["", "{}", '{"Layers": ["conv + relu"]}', '{"Layers": [{"Name": "conv"}]}'])
def test_an_inspector_without_types_is_refused(text: str) -> None:
    with pytest.raises(ExportError, match="wanted the inspector's JSON with the types of every layer"):
        layers_from_inspector(text)
