import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from pydantic import ValidationError

from eightgig.core.errors import ExportError
from eightgig.export.cpu import has_exact_int8, weight_type_for
from eightgig.export.onnx import dump_onnx, load_onnx, read_card
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
from eightgig.export.parameters import QuantizeParameters
from eightgig.export.quantize import quantize_int8


def logits(onnx_file: bytes, images_N3HW: NDArray[np.float32]) -> NDArray[np.float32]:
    with OnnxRuntimeRunner(onnx_file, num_threads=1) as runner:
        return runner.run(images_N3HW)


def signal_to_noise_db(reference: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    return float(10 * np.log10(reference.var() / (found - reference).var()))


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
@pytest.mark.parametrize("weight_type", ["uint8", "int7"])
def test_an_int8_file_answers_nearly_as_the_float_one(
    tiny_onnx: bytes, images_N3HW: NDArray[np.float32], method: str, weight_type: str, capfd: pytest.CaptureFixture[str]
) -> None:
    parameters = QuantizeParameters.model_validate({"method": method, "weight_type": weight_type})
    quantized = quantize_int8(tiny_onnx, [images_N3HW], parameters=parameters)
    assert signal_to_noise_db(logits(tiny_onnx, images_N3HW), logits(quantized, images_N3HW)) > 12
    assert OnnxRuntimeRunner(quantized).precision == "int8"
    assert capfd.readouterr().out == ""


def test_depthwise_weights_are_int8_where_all_others_are_uint8(
    tiny_onnx: bytes, images_N3HW: NDArray[np.float32]
) -> None:
    model = load_onnx(quantize_int8(tiny_onnx, [images_N3HW], parameters=QuantizeParameters(weight_type="uint8")))
    types = {tuple(t.dims): t.data_type for t in model.graph.initializer if len(t.dims) == 4}
    assert types[16, 1, 3, 3] == onnx.TensorProto.INT8
    assert types[32, 16, 1, 1] == types[16, 3, 3, 3] == onnx.TensorProto.UINT8


def test_int7_weights_leave_room_for_two_products_in_16_bits(
    tiny_onnx: bytes, images_N3HW: NDArray[np.float32]
) -> None:
    model = load_onnx(quantize_int8(tiny_onnx, [images_N3HW], parameters=QuantizeParameters(weight_type="int7")))
    dense = [numpy_helper.to_array(t) for t in model.graph.initializer if tuple(t.dims) == (32, 16, 1, 1)]
    assert 60 <= np.abs(dense[0].astype(int)).max() <= 64


def test_a_dead_channel_with_a_bias_keeps_its_bias(tiny_onnx: bytes, images_N3HW: NDArray[np.float32]) -> None:
    model = load_onnx(tiny_onnx)
    linear = next(node for node in model.graph.node if node.op_type == "Gemm")
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weight, bias = (numpy_helper.to_array(tensors[name]).copy() for name in linear.input[1:3])
    weight[0], bias[0] = 1e-9, 3.0
    for name, array in zip(linear.input[1:3], (weight, bias), strict=True):
        tensors[name].CopyFrom(numpy_helper.from_array(array, name))
    dead = dump_onnx(model, {})
    quantized = quantize_int8(dead, [images_N3HW], parameters=QuantizeParameters(weight_type="uint8"))
    np.testing.assert_allclose(logits(quantized, images_N3HW)[:, 0], 3.0, atol=0.05)


def test_the_same_inputs_give_the_same_bytes_and_the_card_is_kept(
    tiny_onnx: bytes, images_N3HW: NDArray[np.float32]
) -> None:
    parameters = QuantizeParameters(calibration_images=10, weight_type="uint8")
    batches = [images_N3HW[:8], images_N3HW[8:16], images_N3HW[16:]]
    first = quantize_int8(tiny_onnx, iter(batches), parameters=parameters)
    assert first == quantize_int8(tiny_onnx, [images_N3HW[:10]], parameters=parameters)
    card = read_card(first)
    assert card.items() > read_card(tiny_onnx).items()
    assert card["quantization"] == "static Q/DQ, uint8 activations, uint8 weights, minmax"
    assert card["calibration_images"] == "10"


def test_no_calibration_image_is_refused(tiny_onnx: bytes) -> None:
    with pytest.raises(ExportError, match="INT8 needs calibration images, found none"):
        quantize_int8(tiny_onnx, [], parameters=QuantizeParameters())


@pytest.mark.parametrize(
    ("capabilities", "exact"),
    [
        ({"architecture": "x86_64", "avx2": True}, False),
        ({"architecture": "x86_64", "avx2": True, "avx512_vnni": True}, True),
        ({"architecture": "x86_64", "avx_vnni": True}, True),
        ({"architecture": "aarch64"}, True),
        ({}, False),
    ],
)
def test_the_cpu_chooses_the_weight_type(capabilities: dict[str, object], exact: bool) -> None:
    assert has_exact_int8(capabilities) is exact
    assert weight_type_for(capabilities) == ("int8" if exact else "uint8")


def test_parameters_refuse_what_cannot_be() -> None:
    for wrong in ({"calibration_images": 0}, {"method": "median"}, {"weight_type": "int4"}):
        with pytest.raises(ValidationError):
            QuantizeParameters.model_validate(wrong)
