"""The ranges of a network's activations, read once for all methods and all INT8 files."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.shape_inference import quant_pre_process

from eightgig.core.errors import ExportError
from eightgig.export.int8.layers import QUANTIZED_MATRIX_OPERATORS, matrix_layers, name_nodes
from eightgig.export.int8.parameters import CalibrationMethod, QuantizeParameters
from eightgig.export.int8.ranges import Range, read_range
from eightgig.export.onnx import load_onnx
from eightgig.export.runners import Arrays, Feeds

# Operators beside the matrix layers with an INT8 kernel in ONNX Runtime, or through which INT8 just passes. Softmax
# and LayerNormalization are none: 256 levels are too few for what they give.
BETWEEN_OPERATORS = frozenset(
    {"Add", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid", "MaxPool", "AveragePool", "GlobalAveragePool"}
    | {"Concat", "Split", "Pad", "Resize", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice"}
)

_BATCH_SIZE = 4
# Of one tensor in all; EfficientNet-B3 has 385 tensors, so 0.2 GiB at most.
_VALUES_KEPT = 131072
_ERRORS_ONLY = 3


@dataclass(frozen=True)
class Calibration:
    """A float network ready to be quantized, and how large its activations are.

    Attributes:
        model: prepared by ONNX Runtime: constants folded, shapes inferred, every node named.
        card: of the float file.
        ranges: by method, then by tensor.
        num_samples: calibration samples read.
        samples: some of them, spread evenly, one a batch.
    """

    model: onnx.ModelProto
    card: Mapping[str, str]
    ranges: Mapping[CalibrationMethod, Mapping[str, Range]]
    num_samples: int
    samples: tuple[Feeds, ...]


def calibrate(onnx_fp32: bytes, batches: Iterable[Feeds], *, parameters: QuantizeParameters) -> Calibration:
    """Return the ranges by every method of `parameters`, from one pass over the samples.

    Least and largest values are exact; the other methods see every n-th value, at most 2 x 131072 a tensor. Memory
    is that of four samples, whatever the size of `batches`.

    Args:
        onnx_fp32: a float32 file of `export_onnx`.
        batches: named arrays with the samples along axis 0, as the network wants them, of any size; taken until
            `parameters.calibration_images` are read.
        parameters: how.

    Raises:
        ExportError: no sample, no layer to quantize, values that are not numbers, or no self-contained ONNX file.
    """
    source = load_onnx(onnx_fp32)
    model = _prepare(source)
    if not matrix_layers(model):
        raise ExportError(
            f"INT8 wants at least 1 {', '.join(QUANTIZED_MATRIX_OPERATORS)} with constant float32 weights, found none. "
            "Give the float32 file; an fp16 or INT8 file cannot be quantized again."
        )
    wanted = parameters.calibration_images
    observer = _Observer(model, values_a_batch=max(1, _VALUES_KEPT * _BATCH_SIZE // max(wanted, _BATCH_SIZE)))
    every = max(1, wanted // parameters.sensitivity_samples)
    number, samples = 0, []
    for feeds in _small_batches(batches, wanted, _batch_size(model)):
        observer.observe(feeds)
        size = _length(feeds)
        samples += [_cut(feeds, row, row + 1) for row in range(size) if (number + row) % every == 0]
        number += size
    if not number:
        raise ExportError("INT8 needs calibration samples, found none. Give batches of training samples.")
    return Calibration(
        model=model,
        card={entry.key: entry.value for entry in source.metadata_props},
        ranges={method: observer.ranges(method, parameters) for method in parameters.methods},
        num_samples=number,
        samples=tuple(samples[: parameters.sensitivity_samples]),
    )


class _Observer:
    """Runs a network and keeps each float tensor's extremes and a sample of its values.

    All three are computed inside the graph, so that a tensor is gone as soon as its last reader has run.
    """

    def __init__(self, model: onnx.ModelProto, *, values_a_batch: int) -> None:
        self._names = _float_tensors(model)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        watched = _watched(model, self._names, values_a_batch).SerializeToString()
        self._session = onnxruntime.InferenceSession(watched, options, providers=["CPUExecutionProvider"])
        self._extremes = dict.fromkeys(self._names, (np.inf, -np.inf))
        self._values: dict[str, list[NDArray[np.float32]]] = {name: [] for name in self._names}

    def observe(self, feeds: Feeds) -> None:
        wanted = [
            f"{kind}{i}" for i in range(len(self._names)) for kind in ("watched_low_", "watched_high_", "watched_")
        ]
        found = iter(self._session.run(wanted, dict(feeds)))
        for name, low, high, values_N in zip(self._names, found, found, found, strict=True):
            if np.isnan(low) or np.isnan(high):
                raise ExportError(
                    f"calibration: tensor `{name}` holds values that are not numbers. Look at the float network first."
                )
            least, most = self._extremes[name]
            self._extremes[name] = min(least, float(low)), max(most, float(high))
            self._values[name].append(values_N[np.isfinite(values_N)])

    def ranges(self, method: CalibrationMethod, parameters: QuantizeParameters) -> dict[str, Range]:
        return {
            name: read_range(method, self._extremes[name], np.concatenate(self._values[name]), parameters=parameters)
            for name in self._names
        }


def _prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, quiet():
        # By path: given a model in memory, onnxruntime 1.32 takes its weights out into a file that it never writes.
        source, prepared = Path(folder) / "fp32.onnx", Path(folder) / "prepared.onnx"
        onnx.save(model, source)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        ready = onnx.load(prepared)
    name_nodes(ready)
    return ready


def _float_tensors(model: onnx.ModelProto) -> list[str]:
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats -= {tensor.name for tensor in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type in BETWEEN_OPERATORS | {*QUANTIZED_MATRIX_OPERATORS}]
    touched = dict.fromkeys(name for node in nodes for name in (*node.input, *node.output))
    return [name for name in touched if name in floats]


def _watched(model: onnx.ModelProto, names: list[str], values_a_batch: int) -> onnx.ModelProto:
    """Return the graph with three more outputs a tensor: least, largest, and every n-th value.

    n is odd, so that it falls on all columns of an image whose width is a power of 2.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    graph = watched.graph
    constants = {"flat": -1, "one": 1, "two": 2, "zero": 0, "end": 2**62, "share": 2 * values_a_batch}
    graph.initializer.extend(
        numpy_helper.from_array(np.array([value], dtype=np.int64), f"watched_{name}")
        for name, value in constants.items()
    )
    for i, name in enumerate(names):
        flat, step = f"watched_flat_{i}", f"watched_step_{i}"
        graph.node.extend(
            [
                helper.make_node("ReduceMin", [name], [f"watched_low_{i}"], keepdims=0),
                helper.make_node("ReduceMax", [name], [f"watched_high_{i}"], keepdims=0),
                helper.make_node("Reshape", [name, "watched_flat"], [flat]),
                helper.make_node("Size", [name], [f"{step}_size"]),
                helper.make_node("Div", [f"{step}_size", "watched_share"], [f"{step}_half"]),
                helper.make_node("Mul", [f"{step}_half", "watched_two"], [f"{step}_even"]),
                helper.make_node("Add", [f"{step}_even", "watched_one"], [step]),
                helper.make_node(
                    "Slice", [flat, "watched_zero", "watched_end", "watched_zero", step], [f"watched_{i}"]
                ),
            ]
        )
        for output in (f"watched_low_{i}", f"watched_high_{i}", f"watched_{i}"):
            graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return watched


def _small_batches(batches: Iterable[Feeds], wanted: int, batch_size: int) -> Iterator[Arrays]:
    for feeds in batches:
        size = min(_length(feeds), wanted)
        for start in range(0, size, batch_size):
            yield _cut(feeds, start, min(start + batch_size, size))
        wanted -= size
        if wanted <= 0:
            return


def _batch_size(model: onnx.ModelProto) -> int:
    """Return 4, or what the graph wants where its batch is not dynamic."""
    sizes = [value.type.tensor_type.shape.dim for value in model.graph.input]
    return next((dims[0].dim_value for dims in sizes if dims and dims[0].dim_value > 0), _BATCH_SIZE)


def _length(feeds: Feeds) -> int:
    return len(next(iter(feeds.values())))


def _cut(feeds: Feeds, start: int, end: int) -> Arrays:
    return {name: array[start:end] for name, array in feeds.items()}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what the quantizer prints: its progress, and advice about models that were not prepared."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
