"""TensorRT engines of the exported files: made with or without the card that they are for."""

import logging

from eightgig.datasets.engine import Engine
from eightgig.export.parameters import ExportParameters, TensorrtParameters
from eightgig.export.tensorrt.records import EngineRequest
from eightgig.stages.annotations import Table

_FILES = {"engine_fp32": "onnx_fp32", "engine_fp16": "onnx_fp16", "engine_int8": "onnx_int8_trt"}
_COLUMNS = (
    "variant",
    "status",
    "toolkit",
    "version",
    "built_for",
    "precision",
    "layers",
    "changed",
    "build_seconds",
    "size_mib",
)


def build_engines(
    onnx_fp32: bytes, onnx_fp16: bytes, onnx_int8_trt: bytes, export: ExportParameters
) -> tuple[dict[str, Engine], Table]:
    """Return the engines that can be built here, by name, and a row for each that was wanted.

    An engine that cannot be built has its reason as status; nothing fails without TensorRT.
    """
    import pandas as pd

    from eightgig.core.errors import ExportError
    from eightgig.export.tensorrt.builder import build_engine

    files = {"onnx_fp32": onnx_fp32, "onnx_fp16": onnx_fp16, "onnx_int8_trt": onnx_int8_trt}
    engines, rows = {}, []
    for name, source in _FILES.items():
        try:
            engines[name] = build_engine(
                files[source],
                request_for(files[source], export.tensorrt),
                claimed=precision_of(name),
                choice=export.tensorrt.toolkit,
            )
            rows.append(_row(name, engines[name]))
        except ExportError as error:
            logging.getLogger(__name__).info("%s: %s", name, error)
            rows.append({"variant": name, "status": str(error)})
    return engines, pd.DataFrame(rows, columns=_COLUMNS)


def request_for(onnx_file: bytes, tensorrt: TensorrtParameters) -> EngineRequest:
    """Return what an engine of the file is to be: of texts, any number of tokens up to what the file's card allows."""
    from eightgig.export.onnx import load_onnx, read_card
    from eightgig.export.tensorrt.records import ShapeProfile

    request, max_tokens = tensorrt.request(), read_card(onnx_file).get("max_tokens")
    if max_tokens is None:
        return request
    batch, longest = request.batch, int(max_tokens)
    profile = ShapeProfile(
        smallest=(batch.smallest, 1), usual=(batch.usual, longest // 2), largest=(batch.largest, longest)
    )
    names = [value.name for value in load_onnx(onnx_file).graph.input]
    return request.model_copy(update={"shapes": dict.fromkeys(names, profile)})


def source_of(engine: str) -> str:
    """Return the name of the ONNX file that an engine is made from."""
    return _FILES[engine]


def precision_of(variant: str) -> str:
    """Return the precision that a file's name claims: `student_int8_cpu` claims int8; without a word it is fp32."""
    return next((part for part in reversed(variant.split("_")) if part in ("fp32", "fp16", "int8")), "fp32")


def _row(name: str, engine: Engine) -> dict[str, object]:
    from eightgig.core.units import mib

    manifest = engine.manifest
    layers = ", ".join(f"{count} {precision}" for precision, count in manifest.matrix_layers_by_precision.items())
    return {
        "variant": name,
        "status": "built",
        "toolkit": manifest.toolkit,
        "version": manifest.toolkit_version,
        "built_for": manifest.gpu or f"sm_{manifest.compute_capability[0]}{manifest.compute_capability[1]}",
        "precision": manifest.precision,
        "layers": layers,
        "changed": ", ".join(f"{node} in {precision}" for node, precision in manifest.changed_nodes.items()),
        "build_seconds": manifest.build_seconds,
        "size_mib": mib(len(engine.plan)),
    }
