"""Every form of a trained network as a variant that the benchmark can open, from the simplest on."""

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from eightgig.core.device import resolve_device
from eightgig.core.errors import ConfigurationError, ExportError
from eightgig.datasets.engine import Engine, UnusableEngine
from eightgig.datasets.weights import Weights
from eightgig.export.parameters import TensorrtParameters
from eightgig.stages.annotations import Table
from eightgig.stages.engines import precision_of, request_for, source_of
from eightgig.stages.task import Task
from eightgig.stages.trained import restore

if TYPE_CHECKING:
    from eightgig.bench.variants import Variant
    from eightgig.export.runners import Feeds, Runner


def torch_variants(task: Task, weights: Weights, device: str, *, example: "Feeds", compiles: bool) -> "list[Variant]":
    """Return torch eager and torch.compile on `device`: in fp32, and on CUDA in fp16 too."""
    from eightgig.bench.variants import Variant

    weights_bytes = sum(tensor.numel() * tensor.element_size() for tensor in weights.state.values())
    variants = []
    for precision in ("fp32", "fp16") if device == "cuda" else ("fp32",):
        suffix = "_fp16" if precision == "fp16" else ""
        size_bytes = weights_bytes // (2 if suffix else 1)
        for runtime, name in (("torch eager", "torch"), ("torch.compile", "torch_compile")):
            opening = partial(_open_torch, task, weights, device, precision, runtime, example, compiles)
            variants.append(Variant(f"{name}_{device}{suffix}", runtime, precision, device, opening, size_bytes))
    return variants


def onnx_variants(
    onnx_files: dict[str, bytes], device: str, *, memory_limit_bytes: int | None = None
) -> "list[Variant]":
    """Return ONNX Runtime on `device` for each file; names on the GPU end in `_cuda`.

    Args:
        onnx_files: by name.
        device: `cpu` or `cuda`.
        memory_limit_bytes: most that each may take of a GPU; None leaves it the whole card.
    """
    from eightgig.bench.variants import Variant

    suffix = "" if device == "cpu" else f"_{device}"
    return [
        Variant(
            name + suffix,
            "ONNX Runtime",
            precision_of(name),
            device,
            partial(_open_onnx, file, name, device, memory_limit_bytes),
            len(file),
        )
        for name, file in onnx_files.items()
    ]


def engine_variants(
    engines: dict[str, Engine | UnusableEngine],
    engines_table: Table,
    onnx_files: dict[str, bytes],
    tensorrt: TensorrtParameters,
) -> "list[Variant]":
    """Return the TensorRT engines, those included that could not be built."""
    from eightgig.bench.variants import Variant

    variants = []
    for row in engines_table.itertuples():
        name = str(row.variant)
        engine = engines.get(name)
        opening = partial(_open_engine, engine, name, onnx_files[source_of(name)], tensorrt, str(row.status))
        runtime = "TensorRT" if row.toolkit == "tensorrt" else "TensorRT for RTX"
        size_bytes = len(engine.plan) if isinstance(engine, Engine) else None
        variants.append(Variant(name, runtime, precision_of(name), "cuda", opening, size_bytes))
    return variants


def _open_torch(
    task: Task, weights: Weights, device: str, precision: str, runtime: str, example: Any, compiles: bool
) -> "Runner":
    from eightgig.export.torch_compile_runner import TorchCompileRunner
    from eightgig.export.torch_runner import TorchRunner

    if runtime == "torch.compile" and not compiles:
        raise ConfigurationError("not run: compiling takes a minute or more; benchmark.torch_compile=true measures it")
    _require_device(device)
    module = task.export_module(restore(task, weights))
    if precision == "fp16":
        module = module.half()
    names: Any = {"input_names": tuple(example), "output_names": (task.evaluator(weights.card.classes).output,)}
    if runtime == "torch.compile":
        return TorchCompileRunner(module, example, device, **names)
    return TorchRunner(module, device, **names)


def _open_onnx(file: bytes, name: str, device: str, memory_limit_bytes: int | None) -> "Runner":
    from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner

    _require_device(device)
    provider = "CPUExecutionProvider" if device == "cpu" else "CUDAExecutionProvider"
    options: Any = {"claimed": precision_of(name), "memory_limit_bytes": memory_limit_bytes}
    return OnnxRuntimeRunner(file, provider=provider, name=name, **options)


def _open_engine(
    engine: Engine | UnusableEngine | None, name: str, onnx_file: bytes, tensorrt: TensorrtParameters, status: str
) -> "Runner":
    from eightgig.export.tensorrt.files import ready_engine
    from eightgig.export.tensorrt.runner import TensorRTRunner

    if engine is None:
        raise ExportError(status)
    ready = ready_engine(
        engine, onnx_file, request_for(onnx_file, tensorrt), claimed=precision_of(name), choice=tensorrt.toolkit
    )
    if ready.rebuilt_because:
        logging.getLogger(__name__).warning(
            "%s was refused and built again for this run; `--tags export` keeps a new one. Why: %s",
            name,
            ready.rebuilt_because,
        )
    return TensorRTRunner(ready.engine, onnx_file, name=name)


def _require_device(device: str) -> None:
    if device == "cuda" and resolve_device("auto") != "cuda":
        raise ConfigurationError("not run: torch finds no usable GPU here")
