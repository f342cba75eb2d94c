"""Benchmark: how good the network is on pictures it never saw, and how fast each of its forms runs here."""

from functools import partial
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Pipeline
from pydantic import Field

from eightgig.bench.parameters import LatencyParameters
from eightgig.bench.records import ClassificationReport
from eightgig.core.device import resolve_device
from eightgig.core.errors import ConfigurationError
from eightgig.core.progress import track
from eightgig.core.records import Record
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import ImageStore, Table
from eightgig.stages.case import Case, stage_node, stage_pipeline
from eightgig.stages.export import labelled_inputs, network_inputs
from eightgig.stages.trained import indices_of, restore

if TYPE_CHECKING:
    from eightgig.bench.variants import Variant
    from eightgig.export.runners import Runner


class BenchmarkParameters(Record):
    """How variants are compared.

    Attributes:
        batch_size: pictures at a time when accuracy is measured.
        num_images: test pictures that every variant answers, spread over the split; the headline figures use all.
        latency: how speed is measured.
    """

    batch_size: int = Field(default=32, ge=1)
    num_images: int = Field(default=2000, ge=1)
    latency: LatencyParameters = LatencyParameters()


def create_pipeline(case: Case) -> Pipeline:
    """Give the nodes from `weights` and the exported files to `metrics`, tables of results and `benchmark_table`."""
    held_out = {"weights": "weights", "store": "store", "splits": "splits", "benchmark": "params:benchmark"}
    results = ["metrics", "per_class_table", "confusion_table", "predictions_table"]
    files = {"onnx_fp32": "onnx_fp32", "onnx_int8": "onnx_int8"}
    return stage_pipeline(
        "benchmark",
        [
            stage_node(evaluate, held_out, results, case=case),
            stage_node(compare_variants, {**held_out, **files}, "benchmark_table", case=case),
        ],
    )


def evaluate(
    case: Case, weights: Weights, store: ImageStore, splits: Table, benchmark: BenchmarkParameters
) -> tuple[ClassificationReport, Table, Table, Table]:
    """Judge the trained network on the whole test split.

    Returns:
        The figures; a row a class; the confusion matrix (rows are true classes, named in the first column); a row a
        picture with what was predicted.
    """
    from eightgig.bench.classification import evaluate as judge
    from eightgig.export.torch_runner import TorchRunner

    indices = indices_of(splits, "test")
    with TorchRunner(restore(case, weights).module, device=resolve_device("auto")) as runner:
        probabilities_NK = _probabilities(case, weights, store, indices, runner, benchmark.batch_size)
    metrics, per_class, confusion = judge(probabilities_NK, store.labels[indices], store.classes)
    return metrics, per_class, confusion.reset_index(), _prediction_rows(store, indices, probabilities_NK)


def compare_variants(
    case: Case,
    weights: Weights,
    store: ImageStore,
    splits: Table,
    benchmark: BenchmarkParameters,
    onnx_fp32: bytes,
    onnx_int8: bytes,
) -> Table:
    """Give one row for each form of the network: accuracy, latency, throughput, size, or why it could not run here."""
    import pandas as pd

    from eightgig.bench.variants import benchmark_variants

    batches = labelled_inputs(
        case,
        weights,
        store,
        indices_of(splits, "test"),
        num_images=benchmark.num_images,
        batch_size=benchmark.batch_size,
    )
    variants = _variants(case, weights, {"onnx_fp32": onnx_fp32, "onnx_int8": onnx_int8})
    rows = benchmark_variants(
        variants, track(batches, "running all variants"), store.classes, latency=benchmark.latency
    )
    return pd.DataFrame([row.model_dump() for row in rows])


def _variants(case: Case, weights: Weights, onnx_files: dict[str, bytes]) -> "list[Variant]":
    from eightgig.bench.variants import Variant
    from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
    from eightgig.export.torch_runner import TorchRunner

    weights_bytes = sum(tensor.numel() * tensor.element_size() for tensor in weights.state.values())

    def torch_runner(device: str, precision: str) -> "Runner":
        if device == "cuda" and resolve_device("auto") != "cuda":
            raise ConfigurationError("not run: torch finds no usable GPU here")
        module = restore(case, weights).module
        return TorchRunner(module.half() if precision == "fp16" else module, device)

    def torch_variant(name: str, device: str, precision: str, size_bytes: int) -> Variant:
        return Variant(name, "torch eager", precision, device, partial(torch_runner, device, precision), size_bytes)

    def onnx_variant(name: str, file: bytes) -> Variant:
        precision = name.removeprefix("onnx_")
        return Variant(name, "ONNX Runtime", precision, "cpu", partial(OnnxRuntimeRunner, file), len(file))

    return [
        torch_variant("torch_cpu", "cpu", "fp32", weights_bytes),
        *(onnx_variant(name, file) for name, file in onnx_files.items()),
        torch_variant("torch_cuda", "cuda", "fp32", weights_bytes),
        torch_variant("torch_cuda_fp16", "cuda", "fp16", weights_bytes // 2),
    ]


def _probabilities(
    case: Case, weights: Weights, store: ImageStore, indices: list[int], runner: "Runner", batch_size: int
) -> Any:
    """Give float64 NK probabilities of one runner for the pictures `indices`, in their order."""
    import numpy as np

    from eightgig.export.runners import softmax

    batches = network_inputs(case, weights, store, indices, num_images=len(indices), batch_size=batch_size)
    total = -(-len(indices) // batch_size)
    return softmax(np.concatenate([runner.run(images) for images in track(batches, "evaluating", total=total)]))


def _prediction_rows(store: ImageStore, indices: list[int], probabilities_NK: Any) -> Table:
    import pandas as pd

    predicted = probabilities_NK.argmax(1)
    names = pd.Series(store.classes)
    order = (-probabilities_NK).argsort(1)[:, :5]
    return pd.DataFrame(
        {
            "index": indices,
            "path": [store.paths[index] for index in indices],
            "class_name": names[store.labels[indices]].to_numpy(),
            "predicted": names[predicted].to_numpy(),
            "probability": probabilities_NK.max(1).round(6),
            "correct": predicted == store.labels[indices],
            "top_5": ["; ".join(names[row]) for row in order],
        }
    )
