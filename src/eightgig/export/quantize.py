"""An INT8 ONNX file for the CPU from a float one, by static Q/DQ quantization.

The recipe, measured with ONNX Runtime 1.32 on two cores of an AVX2 CPU without VNNI (a fine-tuned
tf_efficientnet_lite0 at 160 px; signal to noise of the logits against float32, and batch-1 time):

| activations x weights, one scale a channel | signal to noise | time |
|---|---|---|
| uint8 x int8 (saturates) | 8.8 dB | 1.0 |
| uint8 x int7 (`reduce_range`) | 15.0 dB | 1.0 |
| uint8 x int7, int8 in depthwise layers | 16.1 dB | 1.0 |
| uint8 x uint8 | 21.3 dB | 7.4 |
| uint8 x uint8, int8 in depthwise layers | 20.3 dB | 1.05 |

The last one is `uint8` here: uint8 depthwise layers have no fast kernel, int8 ones do, and it does not saturate.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from eightgig.core.errors import ExportError
from eightgig.export.cpu import weight_type_for
from eightgig.export.onnx import dump_onnx, load_onnx
from eightgig.export.parameters import QuantizeParameters, WeightType

# Histogram methods keep every layer's output of one batch: about 1 GiB at 4 images of 300 px in EfficientNet-B3.
_CALIBRATION_BATCH_SIZE = 4

# Below this, a channel's scale times its input's scale may be too fine for its bias in int32 (see `_floor_of_ranges`).
_SMALLEST_INPUT_SCALE = 1e-4

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}


def quantize_int8(
    onnx_fp32: bytes, calibration: Iterable[NDArray[np.float32]], *, parameters: QuantizeParameters
) -> bytes:
    """Give the INT8 form of `onnx_fp32`, with its card and two more entries: `quantization`, `calibration_images`.

    All operators are quantized, activations to uint8, weights with one scale a channel. The same inputs give the
    same bytes. For CPUs: TensorRT wants another file (symmetric int8).

    Args:
        onnx_fp32: a float32 file of `export_onnx`.
        calibration: batches images_N3HW as the network wants them, of any size; taken until
            `parameters.calibration_images` are read.
        parameters: how.

    Raises:
        ExportError: no calibration image, or not a self-contained float32 ONNX file.
    """
    model = load_onnx(onnx_fp32)
    reader = _Batches(model.graph.input[0].name, calibration, parameters.calibration_images)
    weight_type = weight_type_for() if parameters.weight_type == "auto" else parameters.weight_type
    quantized = _quantize(model, reader, parameters, weight_type)
    card = {entry.key: entry.value for entry in model.metadata_props}
    made_by = f"static Q/DQ, uint8 activations, {weight_type} weights, {parameters.method}"
    return dump_onnx(quantized, card | {"quantization": made_by, "calibration_images": str(reader.num_images)})


def _quantize(
    model: onnx.ModelProto, reader: "_Batches", parameters: QuantizeParameters, weight_type: WeightType
) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, _silence():
        # By path: given a model in memory, onnxruntime 1.32 takes its weights out into a file that it never writes.
        source, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in ("fp32", "prepared", "int8"))
        onnx.save(model, source)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            reader,
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QUInt8 if weight_type == "uint8" else QuantType.QInt8,
            per_channel=True,
            reduce_range=weight_type == "int7",
            calibrate_method=_METHODS[parameters.method],
            extra_options={
                "CalibPercentile": parameters.percentile,
                "CalibStridedMinMax": 1,  # one batch at a time, whatever the method: memory stays flat
                "TensorQuantOverrides": _exceptions(onnx.load(prepared), weight_type),
            },
        )
        return onnx.load(quantized)


def _exceptions(model: onnx.ModelProto, weight_type: WeightType) -> dict[str, list[dict[str, Any]]]:
    """Give the weights that are not quantized like all others, in ONNX Runtime's form, one entry a channel."""
    if weight_type == "int8":
        return {}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    exceptions: dict[str, list[dict[str, Any]]] = {}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in weights and _is_depthwise(node, weights[node.input[1]]):
            # Its kernel widens to 16 bits first, so all 8 bits are exact; int8 is its only fast form.
            exceptions[node.input[1]] = [{"quant_type": QuantType.QInt8, "axis": 0, "symmetric": True}]
        elif weight_type == "uint8" and _has_channels_first(node, weights):
            exceptions[node.input[1]] = _floor_of_ranges(weights[node.input[1]], weights[node.input[2]])
    return exceptions


def _is_depthwise(node: onnx.NodeProto, weight: onnx.TensorProto) -> bool:
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return groups > 1 and groups == weight.dims[0]


def _has_channels_first(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    """Tell whether `node` has a constant weight with its output channels along axis 0, and a constant bias."""
    is_linear = node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
    return (node.op_type == "Conv" or is_linear) and len(node.input) > 2 and {*node.input[1:3]} <= weights.keys()


def _floor_of_ranges(weight: onnx.TensorProto, bias: onnx.TensorProto) -> list[dict[str, Any]]:
    """Keep dead channels (weights of almost 0, folded bias of ordinary size) from overflowing the int32 bias.

    The bias is stored in steps of input scale x weight scale. ONNX Runtime widens the weight's range where that
    would overflow, but for int8 alone; this does it for uint8.
    """
    largest = np.abs(numpy_helper.to_array(weight)).reshape(weight.dims[0], -1).max(axis=1)
    smallest_scale = np.abs(numpy_helper.to_array(bias)) / (2**31 * _SMALLEST_INPUT_SCALE)
    ranges = np.maximum(largest, 127 * smallest_scale).tolist()
    return [
        {"quant_type": QuantType.QUInt8, "axis": 0, "symmetric": True, "rmin": -range_, "rmax": range_}
        for range_ in ranges
    ]


class _Batches(CalibrationDataReader):
    """Calibration images in small batches, from which ONNX Runtime may take a part at a time."""

    def __init__(self, input_name: str, batches: Iterable[NDArray[np.float32]], num_images: int) -> None:
        images_N3HW = _take(batches, num_images)
        self.num_images = len(images_N3HW)
        self._feeds = [
            {input_name: images_N3HW[start : start + _CALIBRATION_BATCH_SIZE]}
            for start in range(0, self.num_images, _CALIBRATION_BATCH_SIZE)
        ]
        self._rest = iter(self._feeds)

    def __len__(self) -> int:
        return len(self._feeds)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._rest = iter(self._feeds[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._rest, None)


def _take(batches: Iterable[NDArray[np.float32]], num_images: int) -> NDArray[np.float32]:
    taken: list[NDArray[np.float32]] = []
    missing = num_images
    for batch in batches:
        taken.append(np.asarray(batch[:missing], dtype=np.float32))
        missing -= len(taken[-1])
        if missing <= 0:
            break
    if not sum(map(len, taken)):
        raise ExportError("INT8 needs calibration images, found none. Give batches of training images.")
    return np.concatenate(taken)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """ONNX Runtime's quantizer prints its progress and logs advice about models that were not prepared."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
