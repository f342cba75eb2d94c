"""Benchmark: how good the network is on pictures it never saw, and how fast each of its forms runs here."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Pipeline
from pydantic import Field

from eightgig.bench.parameters import LatencyParameters
from eightgig.bench.records import ClassificationReport
from eightgig.core.device import resolve_device
from eightgig.core.progress import track
from eightgig.core.records import Record
from eightgig.datasets.engine import Engine, UnusableEngine
from eightgig.datasets.weights import Weights
from eightgig.export.parameters import ExportParameters
from eightgig.stages.annotations import ImageStore, Table
from eightgig.stages.case import Case, stage_node, stage_pipeline
from eightgig.stages.export import ONNX_FILES
from eightgig.stages.inputs import labelled_inputs, network_inputs, one_input
from eightgig.stages.trained import indices_of, restore

if TYPE_CHECKING:
    from eightgig.export.runners import Runner


class BenchmarkParameters(Record):
    """How variants are compared.

    Attributes:
        batch_size: pictures at a time when accuracy is measured.
        num_images: test pictures that every variant answers, spread over the split; the headline figures use all.
        torch_compile: whether torch.compile is measured too, which compiles for a minute or more.
        min_speedup: how many times faster than the best simpler form one must be to be recommended instead.
        latency: how speed is measured.
    """

    batch_size: int = Field(default=32, ge=1)
    num_images: int = Field(default=2000, ge=1)
    torch_compile: bool = False
    min_speedup: float = Field(default=1.05, ge=1)
    latency: LatencyParameters = LatencyParameters()


def create_pipeline(case: Case) -> Pipeline:
    """Give the nodes from `weights` and the exported files to `metrics`, tables of results and `benchmark_table`."""
    held_out = {"weights": "weights", "store": "store", "splits": "splits", "benchmark": "params:benchmark"}
    results = ["metrics", "per_class_table", "confusion_table", "predictions_table"]
    files = {name: name for name in (*ONNX_FILES, "compressed_onnx", "engines", "engines_table")}
    tables = ["benchmark_table", "latency_table"]
    return stage_pipeline(
        "benchmark",
        [
            stage_node(evaluate, held_out, results, case=case),
            stage_node(compare_variants, {**held_out, **files, "export": "params:export"}, tables, case=case),
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
    export: ExportParameters,
    onnx_fp32: bytes,
    onnx_fp16: bytes,
    onnx_int8_cpu: bytes,
    onnx_int8_trt: bytes,
    compressed_onnx: dict[str, bytes],
    engines: dict[str, Engine | UnusableEngine],
    engines_table: Table,
) -> tuple[Table, Table]:
    """Measure every form of the network on the same test pictures.

    Returns:
        A row a form: accuracy, latency, throughput, memory, size, whether it passed and is recommended, or why it could
        not run here; and a row a form and batch size.
    """
    import pandas as pd

    from eightgig.bench.parameters import GateParameters
    from eightgig.bench.variants import benchmark_variants
    from eightgig.stages import variants

    indices = indices_of(splits, "test")
    # An engine refuses batches beyond its profile.
    number, size = benchmark.num_images, min(benchmark.batch_size, export.tensorrt.max_batch)
    batches = labelled_inputs(case, weights, store, indices, num_images=number, batch_size=size)
    files = dict(zip(ONNX_FILES, (onnx_fp32, onnx_fp16, onnx_int8_cpu, onnx_int8_trt), strict=True))
    smaller = {f"onnx_{name}": file for name, file in compressed_onnx.items()}
    torch_forms = partial(
        variants.torch_variants,
        case,
        weights,
        example=one_input(case, weights.card, store, indices[0]),
        compiles=benchmark.torch_compile,
    )
    rows, speed = benchmark_variants(
        [
            *torch_forms("cpu"),
            *variants.onnx_variants(files | smaller, "cpu"),
            *torch_forms("cuda"),
            *variants.onnx_variants({name: files[name] for name in ("onnx_fp32", "onnx_fp16")}, "cuda"),
            *variants.engine_variants(engines, engines_table, files, export.tensorrt),
        ],
        track(batches, "running all variants"),
        store.classes,
        latency=benchmark.latency,
        gates=GateParameters(
            max_drop=export.quantize.max_drop,
            parity_fp32=export.parity.tolerance,
            parity_reduced=export.parity.tolerance_reduced,
            min_speedup=benchmark.min_speedup,
        ),
        whole_call=partial(_from_picture_to_class, case, weights, store, indices[0]),
    )
    return tuple(pd.DataFrame([row.model_dump() for row in table]) for table in (rows, speed))  # type: ignore[return-value]


def _from_picture_to_class(
    case: Case, weights: Weights, store: ImageStore, index: int, runner: "Runner"
) -> Callable[[], object]:
    """Give the call that a user makes: one stored JPEG to the name of its class."""
    from eightgig.export.runners import softmax

    def call() -> str:
        logits_NK = runner.run(one_input(case, weights.card, store, index))["logits"]
        return str(store.classes[int(softmax(logits_NK)[0].argmax())])

    return call


def _probabilities(
    case: Case, weights: Weights, store: ImageStore, indices: list[int], runner: "Runner", batch_size: int
) -> Any:
    """Give float64 NK probabilities of one runner for the pictures `indices`, in their order."""
    import numpy as np

    from eightgig.export.runners import softmax

    batches = network_inputs(case, weights, store, indices, num_images=len(indices), batch_size=batch_size)
    total = -(-len(indices) // batch_size)
    answers = [runner.run(feeds)["logits"] for feeds in track(batches, "evaluating", total=total)]
    return softmax(np.concatenate(answers))


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
