"""How much each layer alone costs when it is quantized."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime

from eightgig.export.int8.calibration import Calibration
from eightgig.export.int8.layers import matrix_layers
from eightgig.export.int8.quantizer import quantize_layers, simulate
from eightgig.export.int8.records import Int8Recipe, LayerSensitivity
from eightgig.export.runners import Array

_ERRORS_ONLY = 3


def measure_sensitivity(calibration: Calibration, recipe: Int8Recipe) -> list[LayerSensitivity]:
    """Return what each matrix layer does to the outputs when it alone is quantized, the most sensitive first.

    Alone, and not alone left in float: the runs are then nearly as fast as float ones, and a layer's share does not
    hide behind what the others do. Measured in float arithmetic on INT8 values, on `calibration.samples`.
    """
    reference = _predictions(calibration, calibration.model)
    alone = recipe.model_copy(update={"operators": "matrix"})
    rows = []
    for layer in matrix_layers(calibration.model):
        predictions = _predictions(calibration, simulate(quantize_layers(calibration, alone, [layer])))
        rows.append(
            LayerSensitivity(
                target=recipe.target,
                layer=layer.name,
                operator=layer.operator,
                divergence=divergence(reference, predictions),
                kept_float=False,
            )
        )
    return sorted(rows, key=lambda row: -row.divergence)


def divergence(reference: Sequence[Array], found: Sequence[Array]) -> float:
    """Return the mean over outputs of the error's power by the variance of the reference."""
    shares = []
    for right, other in zip(reference, found, strict=True):
        error = np.square(other.astype(np.float64) - right).mean()
        shares.append(float(error / max(float(np.var(right.astype(np.float64))), np.finfo(np.float64).tiny)))
    return sum(shares) / len(shares)


def _predictions(calibration: Calibration, model: onnx.ModelProto) -> list[Array]:
    """Return the float outputs, each with all samples in one flat array: texts differ in length."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    predictions = [session.run(None, dict(sample)) for sample in calibration.samples]
    outputs = [np.concatenate([np.ravel(answer) for answer in parts]) for parts in zip(*predictions, strict=True)]
    return [output for output in outputs if np.issubdtype(output.dtype, np.floating)]
