"""ONNX Runtime as a Runner, which refuses to run anywhere but where it was told to."""

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx
import onnxruntime

from eightgig.core.errors import ExportError
from eightgig.export.onnx import load_onnx
from eightgig.export.runners import Images, Logits

_FLOATS = {onnx.TensorProto.FLOAT: "fp32", onnx.TensorProto.FLOAT16: "fp16", onnx.TensorProto.BFLOAT16: "bf16"}
_BYTES = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
_DEVICES = {"CPUExecutionProvider": "cpu"}
_ERRORS_ONLY = 3


class OnnxRuntimeRunner:
    """Runs an ONNX file.

    Args:
        onnx_file: self-contained.
        providers: wanted execution providers, the first of which must be the one in use.
        num_threads: for one operator; None leaves the choice to ONNX Runtime (all physical cores).
        name: for tables.

    Raises:
        ExportError: not such a file, or ONNX Runtime has no such provider or fell back to another.
    """

    def __init__(
        self,
        onnx_file: bytes,
        *,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        num_threads: int | None = None,
        name: str = "onnxruntime",
    ) -> None:
        model = load_onnx(onnx_file)
        self.name = name
        self.precision = read_precision(model)
        self.device = _DEVICES.get(providers[0], "cuda:0")
        self._operators = Counter(node.op_type for node in model.graph.node)
        self._input = model.graph.input[0]
        self._num_threads = num_threads
        self._session: onnxruntime.InferenceSession | None = _open(onnx_file, model, [*providers], num_threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None

    def describe(self) -> dict[str, Any]:
        """Give the version, provider, threads, and how many nodes quantize in the file."""
        return {
            "runtime": "ONNX Runtime",
            "version": onnxruntime.__version__,
            "precision": self.precision,
            "providers": self._session.get_providers() if self._session else [],
            "num_threads": self._num_threads,
            "num_quantize_nodes": self._operators["QuantizeLinear"],
            "num_dequantize_nodes": self._operators["DequantizeLinear"],
        }

    def run(self, images_N3HW: Images) -> Logits:
        """Give logits_NK float32. ExportError after the runner was left."""
        if self._session is None:
            raise ExportError(f"runner `{self.name}` is closed: call run inside its `with` block")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self._input.type.tensor_type.elem_type)
        (logits,) = self._session.run(None, {self._input.name: images_N3HW.astype(dtype, copy=False)})
        return np.asarray(logits, dtype=np.float32)


def read_precision(model: onnx.ModelProto) -> str:
    """Give `int8`, `fp16`, `bf16` or `fp32`, from what the weights are stored as.

    `int8` wants both 8-bit weights and QuantizeLinear nodes; otherwise the float type with the most elements counts.
    """
    elements: Counter[int] = Counter()
    for tensor in model.graph.initializer:
        elements[tensor.data_type] += int(np.prod(tensor.dims))
    quantizes = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    floats = {kind: elements[kind] for kind in _FLOATS}
    if quantizes and sum(elements[kind] for kind in _BYTES) > sum(floats.values()):
        return "int8"
    return _FLOATS[max(floats, key=lambda kind: floats[kind])]


def _open(
    onnx_file: bytes, model: onnx.ModelProto, providers: list[str], num_threads: int | None
) -> onnxruntime.InferenceSession:
    available = onnxruntime.get_available_providers()
    if providers[0] not in available:
        raise ExportError(
            f"ONNX Runtime: wanted {providers[0]}, found only {', '.join(available)}. "
            "Install the onnxruntime build that has it, or choose one of these."
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = num_threads or 0
    # ONNX Runtime 1.24 to 1.32 gives wrong answers for Q/DQ with fp16 scales when this optimizer runs.
    disabled = ["WeightBiasQuantization"] if _has_fp16_scales(model) else []
    session = onnxruntime.InferenceSession(
        onnx_file, sess_options=options, providers=providers, disabled_optimizers=disabled
    )
    if session.get_providers()[0] != providers[0]:
        raise ExportError(
            f"ONNX Runtime: wanted {providers[0]}, but it fell back to {session.get_providers()[0]}. "
            "Its driver or libraries are missing; figures of another provider would be wrong."
        )
    return session


def _has_fp16_scales(model: onnx.ModelProto) -> bool:
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return any(
        types.get(node.input[1]) == onnx.TensorProto.FLOAT16
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    )
