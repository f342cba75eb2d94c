"""The scales of quantized weights, one a channel.

Measured with ONNX Runtime 1.32 on two cores of an AVX2 CPU without VNNI (a fine-tuned tf_efficientnet_lite0 at
160 px; signal to noise of the logits against float32, and batch-1 time):

| activations x weights, one scale a channel | signal to noise | time |
|---|---|---|
| uint8 x int8 (saturates) | 8.8 dB | 1.0 |
| uint8 x int7 | 15.0 dB | 1.0 |
| uint8 x int7, int8 in depthwise layers | 16.1 dB | 1.0 |
| uint8 x uint8 | 21.3 dB | 7.4 |
| uint8 x uint8, int8 in depthwise layers | 20.3 dB | 1.05 |

So depthwise layers have int8 weights in every recipe: their kernel widens to 16 bits first, which is exact, and int8
is its only fast form.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import QuantType

from eightgig.export.int8.layers import MatrixLayer
from eightgig.export.int8.parameters import WeightType
from eightgig.export.int8.ranges import Range

_LARGEST: dict[WeightType, int] = {"int8": 127, "int7": 63, "uint8": 127}
_UINT8_ZERO = 128
_LARGEST_BIAS = 2**30  # half of int32, since ONNX Runtime may round the input's scale


def weight_overrides(
    model: onnx.ModelProto,
    layers: Sequence[MatrixLayer],
    weight_type: WeightType,
    ranges: Mapping[str, Range],
    *,
    quantizes_bias: bool,
) -> dict[str, list[dict[str, Any]]]:
    """Return each weight's type, axis, scales and zero points in ONNX Runtime's form: one entry a channel.

    Given by us, because ONNX Runtime 1.32 computes them channel by channel in Python: 1.4 of 2.3 s for
    EfficientNet-Lite0, once a recipe.

    Args:
        model: prepared, with the float weights.
        layers: which weights.
        weight_type: of all but depthwise layers.
        ranges: of the activations, by tensor.
        quantizes_bias: whether biases become int32, in steps of input scale x weight scale.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    overrides = {}
    for layer in layers:
        kind: WeightType = "int8" if layer.depthwise else weight_type
        scales = _largest_of_channels(constants[layer.weight], layer.channel_axis) / _LARGEST[kind]
        if quantizes_bias and layer.bias:
            biases = np.abs(numpy_helper.to_array(constants[layer.bias])).reshape(-1)
            scales = np.maximum(scales, _smallest_scales(biases, ranges[layer.data]))
        overrides[layer.weight] = _entries(kind, layer.channel_axis, scales)
    return overrides


def _largest_of_channels(weight: onnx.TensorProto, axis: int) -> NDArray[np.float64]:
    values = np.moveaxis(np.abs(numpy_helper.to_array(weight)), axis, 0)
    largest: NDArray[np.float64] = values.reshape(values.shape[0], -1).max(axis=1).astype(np.float64)
    return largest


def _smallest_scales(biases: NDArray[np.float32], range_: Range) -> NDArray[np.float64]:
    """Keep dead channels (weights of almost 0, folded bias of ordinary size) from overflowing the int32 bias."""
    input_scale = (range_[1] - range_[0]) / 255 or 1.0
    scales: NDArray[np.float64] = biases.astype(np.float64) / (input_scale * _LARGEST_BIAS)
    return scales


def _entries(kind: WeightType, axis: int, scales: NDArray[np.float64]) -> list[dict[str, Any]]:
    quant_type, zero = (QuantType.QUInt8, _UINT8_ZERO) if kind == "uint8" else (QuantType.QInt8, 0)
    zero_point = np.array(zero, dtype=np.uint8 if kind == "uint8" else np.int8)
    stored = np.where(scales > np.finfo(np.float32).tiny, scales, 1.0).astype(np.float32)
    return [{"quant_type": quant_type, "axis": axis, "scale": scale, "zero_point": zero_point} for scale in stored]
