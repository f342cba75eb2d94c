"""ONNX Runtime as a Runner, which refuses to run anywhere but where it was told to."""

import tempfile
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx
import onnxruntime

from eightgig.core.errors import ExportError
from eightgig.export.onnx import load_onnx
from eightgig.export.precision import layer_precisions, read_precision, require_precision
from eightgig.export.runners import Array, Arrays, Feeds, require_inputs

_DEVICES = {"CPUExecutionProvider": "cpu"}
_ERRORS_ONLY = 3


class OnnxRuntimeRunner:
    """Runs an ONNX file.

    Args:
        onnx_file: self-contained.
        provider: the execution provider that must be in use; what it cannot run, ONNX Runtime gives to the CPU's.
        claimed: the precision that the file is said to have, proved from its graph; None takes what it has.
        num_threads: for one operator; None leaves the choice to ONNX Runtime (all physical cores).
        memory_limit_bytes: most that its arena may take of a GPU; None leaves it the whole card.
        name: for tables.

    Raises:
        ExportError: not such a file, not the precision it claims, or ONNX Runtime has no such provider or fell back to
            another.
    """

    def __init__(
        self,
        onnx_file: bytes,
        *,
        provider: str = "CPUExecutionProvider",
        claimed: str | None = None,
        num_threads: int | None = None,
        memory_limit_bytes: int | None = None,
        name: str = "onnxruntime",
    ) -> None:
        model = load_onnx(onnx_file)
        if claimed is not None:
            require_precision(model, claimed, name=name)
        self.name = name
        self.precision = read_precision(model)
        self.device = _DEVICES.get(provider, "cuda:0")
        self._operators = Counter(node.op_type for node in model.graph.node)
        self._inputs = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
        self._outputs = [value.name for value in model.graph.output]
        self._num_threads = num_threads
        self._session: onnxruntime.InferenceSession | None
        self._session, self._layers = _open(onnx_file, model, provider, num_threads, memory_limit_bytes)
        self.computes_in = self._layers.most_common(1)[0][0] if self._layers else self.precision

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None

    def describe(self) -> dict[str, Any]:
        """Return the version, provider, threads, and how many matrix layers really run in which precision."""
        return {
            "runtime": "ONNX Runtime",
            "version": onnxruntime.__version__,
            "precision": self.precision,
            "computes_in": self.computes_in,
            "layers_by_precision": dict(self._layers),
            "providers": self._session.get_providers() if self._session else [],
            "num_threads": self._num_threads,
            "num_quantize_nodes": self._operators["QuantizeLinear"],
            "num_dequantize_nodes": self._operators["DequantizeLinear"],
        }

    def run(self, feeds: Feeds) -> Arrays:
        """Return the outputs by name, floats as float32. ExportError after the runner was left."""
        if self._session is None:
            raise ExportError(f"runner `{self.name}` is closed: call run inside its `with` block")
        require_inputs(self.name, tuple(self._inputs), feeds)
        try:
            given = self._session.run(None, {name: _cast(feeds[name], kind) for name, kind in self._inputs.items()})
        except Exception as error:  # ONNX Runtime's have no common kind
            raise ExportError(
                f"runner `{self.name}`: ONNX Runtime cannot run it with these inputs ({error})."
            ) from error
        return {name: _widen(output) for name, output in zip(self._outputs, given, strict=True)}


def _open(
    onnx_file: bytes, model: onnx.ModelProto, provider: str, num_threads: int | None, memory_limit_bytes: int | None
) -> tuple[onnxruntime.InferenceSession, Counter[str]]:
    """Return the session, and how many matrix layers of the graph that it really runs have which precision."""
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise ExportError(
            f"ONNX Runtime: wanted {provider}, found only {', '.join(available)}. "
            "Install the onnxruntime build that has it, or choose one of these."
        )
    # ONNX Runtime 1.24 to 1.32 gives wrong answers for Q/DQ with fp16 scales when this optimizer runs.
    disabled = ["WeightBiasQuantization"] if _has_fp16_scales(model) else []
    providers: list[Any] = [provider]
    if provider not in _DEVICES:
        limits = {} if memory_limit_bytes is None else {"gpu_mem_limit": memory_limit_bytes}
        providers = [(provider, limits), "CPUExecutionProvider"]
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = num_threads or 0
        # Threads that spin for more work take the cores from whatever runs next: with five sessions in turn on two
        # cores, EfficientNet-Lite0 took 27 ms an image with spinning threads, and 8 ms without.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        try:
            session = onnxruntime.InferenceSession(
                onnx_file, sess_options=options, providers=providers, disabled_optimizers=disabled
            )
        except Exception as error:  # ONNX Runtime's have no common kind
            raise ExportError(
                f"wanted a network that ONNX Runtime runs on {provider}, but it refuses the file ({error}). Export it "
                "again."
            ) from error
        if session.get_providers()[0] != provider:
            raise ExportError(
                f"ONNX Runtime: wanted {provider}, but it fell back to {session.get_providers()[0]}. "
                "Its driver or libraries are missing; figures of another provider would be wrong."
            )
        return session, _running_layers(Path(options.optimized_model_filepath))


def _running_layers(optimised: Path) -> Counter[str]:
    """Count the layers of the graph after ONNX Runtime's own changes: there, fp16 without kernels has become fp32."""
    if not optimised.is_file():
        return Counter()
    return Counter(layer.precision for layer in layer_precisions(onnx.load(optimised)))


def _cast(array: Array, kind: int) -> Array:
    return array.astype(onnx.helper.tensor_dtype_to_np_dtype(kind), copy=False)


def _widen(output: Any) -> Array:
    array = np.asarray(output)
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array


def _has_fp16_scales(model: onnx.ModelProto) -> bool:
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return any(
        types.get(node.input[1]) == onnx.TensorProto.FLOAT16
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 1
    )
