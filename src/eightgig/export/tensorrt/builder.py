"""An ONNX file as a TensorRT engine whose precision is proved, with or without the card that it is for.

Networks are strongly typed: an engine takes its types from the ONNX file, so precision is chosen there, and read back
here from the layers that were built.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import onnx

from eightgig import __version__
from eightgig.core.errors import ExportError
from eightgig.core.files import sha256_of, write_bytes
from eightgig.export.onnx import load_onnx
from eightgig.export.precision import layer_precisions, names_in, read_precision, require_precision
from eightgig.export.tensorrt.layers import (
    changed_nodes,
    layers_from_inspector,
    layers_from_log,
    require_engine_precision,
    unproven_nodes,
)
from eightgig.export.tensorrt.log import BuildLog, listen
from eightgig.export.tensorrt.machine import EngineMachine, describe_capability, this_machine
from eightgig.export.tensorrt.manifest import sealed
from eightgig.export.tensorrt.profiles import read_inputs, read_outputs
from eightgig.export.tensorrt.records import (
    Engine,
    EngineLayer,
    EngineManifest,
    EngineRequest,
    EngineTensor,
    ToolkitChoice,
)
from eightgig.export.tensorrt.targets import member_of, target_of
from eightgig.export.tensorrt.toolkit import Toolkit, find_toolkit

_DEFAULT = EngineRequest()


class _Built(NamedTuple):
    """What came out of a build."""

    plan: bytes
    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    layers: tuple[EngineLayer, ...]
    seconds: float


def build_engine(
    onnx_file: bytes,
    request: EngineRequest = _DEFAULT,
    *,
    claimed: str | None = None,
    choice: ToolkitChoice = "auto",
    timing_cache: Path | None = None,
) -> Engine:
    """Return the engine for a card, with a manifest that says what it computes in and what it is bound to.

    Args:
        onnx_file: self-contained, in the precision that is wanted.
        request: card, shapes, memory.
        claimed: the precision that it must have; None takes that of the file.
        choice: which toolkit; `auto` takes the installed one.
        timing_cache: a file that makes later builds faster; made when it is not there. TensorRT for RTX needs none: it
            chooses kernels where the engine runs.

    Raises:
        ExportError: no toolkit; a card that it cannot build for; an ONNX file that it cannot take or that is not in the
            claimed precision; an engine that is not; shapes that do not fit.
    """
    toolkit = find_toolkit(choice)
    machine = this_machine()
    settings = _Settings(toolkit, request, target_of(request, toolkit, machine), timing_cache)
    model = load_onnx(onnx_file)
    claimed = claimed or read_precision(model)
    require_precision(model, claimed, name="the ONNX file")
    built = _build(onnx_file, settings)
    nodes = {layer.name: layer.precision for layer in layer_precisions(model)}
    exempt = _exempt_nodes(model, nodes, claimed)
    require_engine_precision(built.layers, claimed, exempt_nodes=exempt)
    proved: dict[str, Any] = {
        "precision": claimed,
        "exempt_nodes": exempt,
        "unproven_nodes": unproven_nodes(built.layers, nodes),
    }
    proved |= {"changed_nodes": changed_nodes(built.layers, nodes)}
    files = {"onnx_sha256": sha256_of(onnx_file), "plan_sha256": sha256_of(built.plan)}
    return Engine(built.plan, sealed(_manifest(built, settings, machine, **proved, **files)))


class _Settings(NamedTuple):
    """How one build goes."""

    toolkit: Toolkit
    request: EngineRequest
    capability: tuple[int, int]
    timing_cache: Path | None

    @property
    def timings(self) -> Path | None:
        """Where kernels' timings are kept; TensorRT for RTX takes none."""
        return None if self.toolkit.is_rtx else self.timing_cache


def _manifest(built: _Built, settings: _Settings, machine: EngineMachine, **known: Any) -> EngineManifest:
    toolkit, request = settings.toolkit, settings.request
    # TensorRT for RTX makes one engine for all cards of a capability; `current` asks for this very card.
    is_for_this_card = request.compute_capability == "current" or not toolkit.is_rtx
    return EngineManifest(
        toolkit=toolkit.name,
        toolkit_version=toolkit.version,
        compute_capability=settings.capability,
        gpu=machine.gpu if is_for_this_card else None,
        driver=machine.driver if is_for_this_card else None,
        platform=machine.platform,
        request=request,
        layers=built.layers,
        inputs=built.inputs,
        outputs=built.outputs,
        build_seconds=built.seconds,
        eightgig_version=__version__,
        **known,
    )


def _build(onnx_file: bytes, settings: _Settings) -> _Built:
    toolkit = settings.toolkit
    with listen(toolkit) as log:
        started = time.perf_counter()
        builder = toolkit.module.Builder(log.logger)
        network = builder.create_network(toolkit.network_flags())
        _parse(network, onnx_file, toolkit, log)
        inputs, outputs = read_inputs(network, settings.request), read_outputs(network)
        config = _configure(builder, inputs, settings, log)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise ExportError(
                f"{toolkit.title} {toolkit.version} built no engine for {describe_capability(settings.capability)}: "
                f"{log.reason}"
            )
        seconds = time.perf_counter() - started
        if settings.timings is not None:
            write_bytes(settings.timings, bytes(config.get_timing_cache().serialize()))
        layers = layers_from_log(log.messages) or _inspect(toolkit, log, plan)
        return _Built(bytes(plan), inputs, outputs, layers, seconds)


def _parse(network: Any, onnx_file: bytes, toolkit: Toolkit, log: BuildLog) -> None:
    parser = toolkit.module.OnnxParser(network, log.logger)
    if parser.parse(onnx_file):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    told = "; ".join(f"{error.node_operator()} {error.node_name()}: {error.desc()}" for error in errors[:5])
    raise ExportError(
        f"{toolkit.title} {toolkit.version} cannot take this ONNX file: {told or log.reason}. "
        "Use operators that it has, or leave this variant out."
    )


def _configure(builder: Any, inputs: tuple[EngineTensor, ...], settings: _Settings, log: BuildLog) -> Any:
    module, request = settings.toolkit.module, settings.request
    config = builder.create_builder_config()
    # Only DETAILED makes TensorRT tell each layer's types.
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    if settings.toolkit.is_rtx:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(module.ComputeCapability, member_of(settings.capability)), 0)
    if request.workspace_bytes is not None:
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    if not request.allows_tf32:
        config.clear_flag(module.BuilderFlag.TF32)
    if settings.timings is not None:
        _attach_timings(config, settings.timings)
    _add_profile(builder, config, inputs, log)
    return config


def _add_profile(builder: Any, config: Any, inputs: tuple[EngineTensor, ...], log: BuildLog) -> None:
    profile = builder.create_optimization_profile()
    ranges = [(tensor.name, tensor.profile) for tensor in inputs if tensor.profile is not None]
    for name, shapes in ranges:
        profile.set_shape(name, shapes.smallest, shapes.usual, shapes.largest)
    if ranges and config.add_optimization_profile(profile) < 0:
        raise ExportError(f"TensorRT refuses the range of shapes: {log.reason}. Choose others in the request.")


def _attach_timings(config: Any, timing_cache: Path) -> None:
    known = timing_cache.read_bytes() if timing_cache.is_file() else b""
    # TensorRT compares card and version itself and then says False; an empty cache always fits.
    if not config.set_timing_cache(config.create_timing_cache(known), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _inspect(toolkit: Toolkit, log: BuildLog, plan: Any) -> tuple[EngineLayer, ...]:
    """Ask the inspector, where the build log lists no layers, as TensorRT's own does not; needs the card."""
    engine = toolkit.module.Runtime(log.logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise ExportError(f"{toolkit.title} cannot read the engine that it has just built: {log.reason}")
    inspector = engine.create_engine_inspector()
    return layers_from_inspector(inspector.get_engine_information(toolkit.module.LayerInformationFormat.JSON))


def _exempt_nodes(model: onnx.ModelProto, matrix_nodes: Iterable[str], claimed: str) -> tuple[str, ...]:
    """Return those of the matrix nodes that the file's card lists as being in another precision."""
    card = {entry.key: entry.value for entry in model.metadata_props}
    listed = set(names_in(card, "float_layers" if claimed == "int8" else "float32_nodes"))
    return tuple(name for name in matrix_nodes if name in listed)
