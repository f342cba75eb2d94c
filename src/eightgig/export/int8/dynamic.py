"""INT8 whose activations find their scale while the file runs: no calibration, matrix products alone.

ONNX Runtime's way for transformers, whose activations differ much from text to text. Weights are 7 bits wide where the
CPU would saturate otherwise (see `eightgig.export.cpu`).
"""

import json
import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from eightgig.export.cpu import has_exact_int8
from eightgig.export.int8.calibration import quiet
from eightgig.export.onnx import dump_onnx, load_onnx
from eightgig.export.precision import layer_precisions


def quantize_dynamically(onnx_fp32: bytes) -> bytes:
    """Return the file with its matrix products in INT8, scaled by each tensor's own range as it comes.

    Raises:
        ExportError: not a float32 file of `export_onnx`.
    """
    model = load_onnx(onnx_fp32)
    card = {entry.key: entry.value for entry in model.metadata_props}
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=not has_exact_int8(),
            weight_type=QuantType.QInt8,
        )
        quantized = onnx.load(target)
    # Products of two computed tensors, as in attention, have no weights to quantize.
    computed = [
        layer.name for layer in layer_precisions(quantized) if not layer.num_weights and layer.precision != "int8"
    ]
    words = "dynamic INT8: weights a channel, activations by their own range"
    return dump_onnx(quantized, {**card, "quantization": words, "float_layers": json.dumps(computed)})
