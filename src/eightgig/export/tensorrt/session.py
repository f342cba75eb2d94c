"""One engine in TensorRT's own terms: read, given shapes and addresses, executed on torch's stream, let go."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from eightgig.core.errors import ExportError
from eightgig.core.files import write_bytes
from eightgig.export.tensorrt.log import listen
from eightgig.export.tensorrt.records import EngineTensor, Shape
from eightgig.export.tensorrt.toolkit import Toolkit


class Session:
    """An engine that is loaded, with its execution context.

    Args:
        toolkit: that built the plan.
        plan: the serialized engine.
        runtime_cache: where compiled kernels are kept; TensorRT for RTX only.

    Raises:
        ExportError: TensorRT does not take the plan, or has no memory for it.
    """

    def __init__(self, toolkit: Toolkit, plan: bytes, runtime_cache: Path | None = None) -> None:
        self._toolkit = toolkit
        self._cache: Any = None
        self._cache_path = runtime_cache if toolkit.is_rtx else None
        with listen(toolkit) as log:
            self._runtime = toolkit.module.Runtime(log.logger)
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise ExportError(
                    f"{toolkit.title} {toolkit.version} refuses the engine: {log.reason}. "
                    "Build it again from its ONNX file."
                )
            self._context = self._create_context()
            if self._context is None:
                raise ExportError(f"{toolkit.title} has no memory for the engine's activations: {log.reason}")
        # On the default stream TensorRT adds synchronisations of its own to every run, as it warns.
        self._stream = torch.cuda.Stream()

    def output_shapes(self, inputs: Mapping[str, Shape], outputs: Sequence[EngineTensor]) -> dict[str, Shape]:
        """Set the inputs' shapes and give those of the outputs. ExportError for a shape out of the engine's range."""
        for name, shape in inputs.items():
            if not self._context.set_input_shape(name, shape):
                raise ExportError(f"{self._toolkit.title} refuses the shape {shape} for input {name}")
        return {tensor.name: tuple(self._context.get_tensor_shape(tensor.name)) for tensor in outputs}

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Tell where inputs are read and outputs written."""
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise ExportError(f"{self._toolkit.title} refuses the memory for tensor {name}")

    def execute(self) -> None:
        """Run once; what torch does on its current stream afterwards waits for the end."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise ExportError(f"{self._toolkit.title} could not run the engine. Build it again from its ONNX file.")
        current.wait_stream(self._stream)

    def close(self) -> None:
        """Keep the compiled kernels, and give everything back, what was made last first."""
        self._stream.synchronize()
        if self._cache is not None and self._cache_path is not None:
            write_bytes(self._cache_path, bytes(self._cache.serialize()))
        self._context = self._cache = self._engine = self._runtime = None

    def _create_context(self) -> Any:
        if self._cache_path is None:
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        self._cache = config.create_runtime_cache()
        if self._cache_path.is_file():
            # It says False where the kernels are of another card or version, and then starts empty.
            self._cache.deserialize(self._cache_path.read_bytes())
        config.set_runtime_cache(self._cache)
        return self._engine.create_execution_context(config)
