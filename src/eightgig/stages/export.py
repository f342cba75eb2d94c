"""Export: the trained network as ONNX in float32, float16 and INT8, each proved and held against torch."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Node, Pipeline

from eightgig.datasets.weights import Weights
from eightgig.export.int8.records import QuantizationReport
from eightgig.export.parameters import ExportParameters
from eightgig.export.parity import ParityTable
from eightgig.stages.annotations import Evaluator, ImageStore, Table
from eightgig.stages.engines import build_engines, precision_of
from eightgig.stages.inputs import labelled_inputs, network_inputs
from eightgig.stages.task import Task, stage_node, stage_pipeline
from eightgig.stages.trained import indices_of, restore
from eightgig.vram.runtime.measure import MeasuredPhase, MemoryMeter

if TYPE_CHECKING:
    from eightgig.export.runners import Runner

ONNX_FILES = ("onnx_fp32", "onnx_fp16", "onnx_int8_cpu", "onnx_int8_trt")
_EVAL_BATCH = 16


def create_pipeline(task: Task, *more: Node, compressed: Node | None = None) -> Pipeline:
    """Return the nodes from `weights` and `compressed_weights` to the ONNX files, the engines and `parity`.

    Args:
        task: of the pipeline.
        more: what the case exports besides.
        compressed: gives `compressed_onnx`, further files by name; None exports what the compress stage made.
    """
    made = {"weights": "weights", "export": "params:export"}
    images = {**made, "store": "store", "splits": "splits"}
    quantized = ["onnx_int8_cpu", "onnx_int8_trt", "quantization"]
    from_compressed = {name: name for name in ("compressed_weights", "quantization", "store", "splits")}
    from_compressed["export"] = "params:export"
    for_engines = {name: name for name in ("onnx_fp32", "onnx_fp16", "onnx_int8_trt")}
    return stage_pipeline(
        "export",
        [
            stage_node(export_fp32, made, ["onnx_fp32", "export_memory"], task=task),
            stage_node(export_fp16, {"onnx_fp32": "onnx_fp32"}, "onnx_fp16"),
            stage_node(quantize, {**images, "onnx_fp32": "onnx_fp32"}, quantized, task=task),
            compressed or stage_node(export_compressed, from_compressed, "compressed_onnx", task=task),
            stage_node(build_engines, {**for_engines, "export": "params:export"}, ["engines", "engines_table"]),
            stage_node(check_parity, {**images, **{name: name for name in ONNX_FILES}}, "parity", task=task),
            *more,
        ],
    )


def export_fp32(task: Task, weights: Weights, export: ExportParameters) -> tuple[bytes, MeasuredPhase]:
    """Return the network as a float32 ONNX file with its card inside, and the memory that the export took."""
    with MemoryMeter("export", "cpu") as meter:
        file = _to_onnx(task, weights, export)
    return file, meter.result()


def export_fp16(onnx_fp32: bytes) -> bytes:
    """Return the file with weights and computation in float16, but for casts and what lies behind the last layer.

    A detector's boxes are computed there: half precision would round them to half a pixel.
    """
    from eightgig.export.half import to_half
    from eightgig.export.int8.layers import nodes_behind
    from eightgig.export.onnx import load_onnx

    return to_half(onnx_fp32, float_nodes=nodes_behind(load_onnx(onnx_fp32)))


def quantize(
    task: Task, weights: Weights, store: ImageStore, splits: Table, export: ExportParameters, onnx_fp32: bytes
) -> tuple[bytes, bytes, QuantizationReport]:
    """Return the INT8 files for the CPU and for TensorRT, and how they were chosen.

    Calibrated on training images as they look without augmentation, judged on validation images: the test images
    stay unseen until the benchmark.
    """
    from eightgig.export.int8.search import search_int8

    training, validation = indices_of(splits, "train"), indices_of(splits, "val")
    parameters = export.quantize
    calibration = network_inputs(task, weights, store, training, num_images=parameters.calibration_images, batch_size=8)
    judged = list(
        labelled_inputs(task, weights, store, validation, num_images=parameters.eval_samples, batch_size=_EVAL_BATCH)
    )
    found = search_int8(
        onnx_fp32, calibration, _score_on(judged, task.evaluator(weights.card.classes)), parameters=parameters
    )
    seen = min(parameters.eval_samples, len(validation))
    counts = {"num_judged_samples": seen, "num_validation_samples": len(validation)}
    return found.int8_cpu, found.int8_trt, found.report.model_copy(update=counts)


def export_compressed(
    task: Task,
    store: ImageStore,
    splits: Table,
    export: ExportParameters,
    compressed_weights: dict[str, Weights],
    quantization: QuantizationReport,
) -> dict[str, bytes]:
    """Return each compressed network in float32, and in INT8 by the recipe that was chosen for the whole one."""
    from eightgig.export.int8.calibration import calibrate
    from eightgig.export.int8.quantizer import quantize as to_int8

    training, chosen = indices_of(splits, "train"), quantization.int8_cpu.recipe
    # Layers have other names in another graph; what these files lose by it, the benchmark measures.
    recipe = chosen.model_copy(update={"float_layers": ()})
    parameters = export.quantize.model_copy(update={"methods": (recipe.method,)})
    files = {}
    for name, weights in compressed_weights.items():
        number = parameters.calibration_images
        images = network_inputs(task, weights, store, training, num_images=number, batch_size=8)
        files[f"{name}_fp32"] = _to_onnx(task, weights, export)
        calibration = calibrate(files[f"{name}_fp32"], images, parameters=parameters)
        files[f"{name}_int8_cpu"] = to_int8(calibration, recipe)
    return files


def check_parity(
    task: Task,
    weights: Weights,
    store: ImageStore,
    splits: Table,
    export: ExportParameters,
    onnx_fp32: bytes,
    onnx_fp16: bytes,
    onnx_int8_cpu: bytes,
    onnx_int8_trt: bytes,
) -> ParityTable:
    """Return how far each file's probabilities are from torch's on held-out images, after proving its precision.

    INT8 rounds, so it seldom meets a tolerance: its row tells the one that it would have needed, and its accuracy
    decides (see the benchmark). TensorRT's INT8 file is computed in float on exactly its INT8 values: this machine's
    kernels are not TensorRT's, and on a CPU without VNNI they saturate.
    """
    from eightgig.export.int8.quantizer import simulate
    from eightgig.export.onnx import load_onnx
    from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
    from eightgig.export.parity import check_parity as compare
    from eightgig.export.precision import require_precision
    from eightgig.export.torch_runner import TorchRunner

    files = dict(zip(ONNX_FILES, (onnx_fp32, onnx_fp16, onnx_int8_cpu, onnx_int8_trt), strict=True))
    evaluator = task.evaluator(weights.card.classes)
    held_out = indices_of(splits, "test") + indices_of(splits, "val")
    number = export.parity.num_images
    batches = list(network_inputs(task, weights, store, held_out, num_images=number, batch_size=_EVAL_BATCH))
    reports = {}
    module = task.export_module(restore(task, weights))
    input_names = tuple(task.dummy_input(weights.card))
    with TorchRunner(module, input_names=input_names, output_names=(evaluator.output,)) as reference:
        for name, file in files.items():
            claimed = precision_of(name)
            require_precision(load_onnx(file), claimed, name=name)
            computed = simulate(load_onnx(file)).SerializeToString() if name == "onnx_int8_trt" else file
            tolerance = export.parity.tolerance if claimed == "fp32" else export.parity.tolerance_reduced
            with OnnxRuntimeRunner(computed, name=name) as candidate:
                reports[name] = compare(reference, candidate, batches, tolerance=tolerance, evaluator=evaluator)
    return ParityTable(reports=reports)


def _to_onnx(task: Task, weights: Weights, export: ExportParameters) -> bytes:
    from eightgig.export.onnx import export_onnx

    card = weights.card
    return export_onnx(
        task.export_module(restore(task, weights)),
        task.dummy_input(card),
        card=task.file_card(card),
        simplified=export.simplify,
        output_name=task.evaluator(card.classes).output,
        dynamic_axes=task.dynamic_axes(),
    )


def _score_on(batches: list[tuple[dict[str, Any], list[Any]]], evaluator: Evaluator) -> Callable[["Runner"], float]:
    """Return the judge of a runner: its score on the batches."""

    def score(runner: "Runner") -> float:
        judge = evaluator.judge()
        for feeds, targets in batches:
            judge.add(evaluator.predictions(runner.run(feeds)), targets)
        return judge.quality()[evaluator.score_name]

    return score
