"""A TensorRT engine as a Runner: the checks come before TensorRT is touched, and memory is taken once."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from eightgig.core.errors import ExportError
from eightgig.export.runners import Array, Arrays, Feeds, require_inputs
from eightgig.export.tensorrt.buffers import Buffers
from eightgig.export.tensorrt.machine import require_gpu, this_machine
from eightgig.export.tensorrt.manifest import check_engine
from eightgig.export.tensorrt.profiles import describe_profile, fits
from eightgig.export.tensorrt.records import Engine, EngineTensor, Shape
from eightgig.export.tensorrt.session import Session
from eightgig.export.tensorrt.toolkit import find_toolkit


class TensorRTRunner:
    """Runs an engine on the card that torch uses; the memory is taken when its `with` block begins.

    Args:
        engine: with its manifest.
        onnx_file: that it must be made from; not compared when None.
        runtime_cache: where TensorRT for RTX keeps the kernels that it compiles on first use; read when it is there,
            written on leaving. None compiles them every time.
        name: for tables.

    Raises:
        ExportError: there is no GPU or another than the engine is for; the toolkit that built it is not installed; the
            engine is damaged, edited or foreign.
    """

    def __init__(
        self,
        engine: Engine,
        onnx_file: bytes | None = None,
        *,
        runtime_cache: Path | None = None,
        name: str | None = None,
    ) -> None:
        manifest = engine.manifest
        machine = this_machine()
        # First of all: TensorRT's libraries crash where there is no driver.
        require_gpu(machine, manifest.compute_capability)
        self._toolkit = find_toolkit(manifest.toolkit)
        check_engine(engine, toolkit=self._toolkit, machine=machine, onnx_file=onnx_file)
        self.name = name or manifest.toolkit
        self.precision = self.computes_in = manifest.precision
        self.device = f"cuda:{torch.cuda.current_device()}"
        self._engine, self._runtime_cache = engine, runtime_cache
        self._session: Session | None = None
        self._buffers: Buffers | None = None

    def __enter__(self) -> Self:
        manifest = self._engine.manifest
        session = Session(self._toolkit, self._engine.plan, self._runtime_cache)
        largest = {tensor.name: _largest(tensor) for tensor in manifest.inputs}
        shapes = largest | session.output_shapes(largest, manifest.outputs)
        self._buffers = Buffers((*manifest.inputs, *manifest.outputs), shapes, self.device)
        session.bind({name: self._buffers.address(name) for name in shapes})
        self._session = session
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session, self._buffers = self._session, None, None
        if session is not None:
            session.close()

    def describe(self) -> dict[str, Any]:
        """Return toolkit and version, card, and how many matrix layers really run in which precision."""
        manifest = self._engine.manifest
        return {
            "runtime": self._toolkit.title,
            "version": manifest.toolkit_version,
            "precision": self.precision,
            "computes_in": self.computes_in,
            "layers_by_precision": manifest.matrix_layers_by_precision,
            "card": torch.cuda.get_device_name(self.device),
            "built_for": manifest.compute_capability,
            "allows_tf32": manifest.request.allows_tf32,
            "buffer_bytes": self._buffers.size_bytes if self._buffers else 0,
        }

    @torch.inference_mode()
    def run(self, feeds: Feeds) -> Arrays:
        """Return the outputs by name, floats as float32.

        Raises:
            ExportError: an input is missing or of a shape that the engine was not built for, or the runner was left.
        """
        if self._session is None or self._buffers is None:
            raise ExportError(f"runner `{self.name}` is closed: call run inside its `with` block")
        manifest = self._engine.manifest
        require_inputs(self.name, tuple(tensor.name for tensor in manifest.inputs), feeds)
        shapes = {tensor.name: _accepted(self.name, tensor, feeds[tensor.name]) for tensor in manifest.inputs}
        produced = self._session.output_shapes(shapes, manifest.outputs)
        for name, shape in shapes.items():
            self._buffers.view(name, shape).copy_(_as_tensor(feeds[name]))
        self._session.execute()
        return {name: _to_numpy(self._buffers.view(name, shape)) for name, shape in produced.items()}


def _largest(tensor: EngineTensor) -> Shape:
    return tensor.profile.largest if tensor.profile else tensor.shape


def _accepted(runner: str, tensor: EngineTensor, array: Array) -> Shape:
    shape = tuple(array.shape)
    if not fits(shape, tensor):
        wanted = describe_profile(tensor.profile) if tensor.profile else "x".join(map(str, tensor.shape))
        raise ExportError(
            f"runner `{runner}`: input {tensor.name} wants {wanted}, found {'x'.join(map(str, shape))}. "
            "Give smaller batches, or build the engine for this shape."
        )
    return shape


def _as_tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))  # torch warns of read-only memory


def _to_numpy(tensor: torch.Tensor) -> Array:
    """Copy to the host, which waits for the device."""
    wide = tensor.float() if tensor.is_floating_point() else tensor
    return wide.cpu().numpy()
