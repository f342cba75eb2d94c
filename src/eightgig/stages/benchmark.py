"""Benchmark: how good the network is on images it never saw, and how fast each of its forms runs here."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Pipeline

from eightgig.bench.parameters import BenchmarkParameters
from eightgig.core.progress import track
from eightgig.datasets.engine import Engine, UnusableEngine
from eightgig.datasets.weights import Weights
from eightgig.export.parameters import ExportParameters
from eightgig.stages.annotations import Evaluator, ImageStore, Table
from eightgig.stages.export import ONNX_FILES
from eightgig.stages.inference import inference_plan
from eightgig.stages.inputs import Feeds, labelled_inputs, sample_input
from eightgig.stages.task import Task, stage_node, stage_pipeline
from eightgig.stages.trained import indices_of
from eightgig.vram.parameters import PlanParameters

if TYPE_CHECKING:
    from eightgig.bench.records import VariantRow
    from eightgig.export.runners import Runner


def create_pipeline(task: Task, evaluate: Callable[..., Any], results: str | list[str]) -> Pipeline:
    """Return the nodes from `weights` and the exported files to the results and `benchmark_table`.

    Args:
        task: of the pipeline.
        evaluate: judges the trained network on the whole test split in the task's way, of `task`, `weights`, `store`,
            `splits`, `benchmark` and `plan`.
        results: names of the datasets that it gives.
    """
    held_out = {"weights": "weights", "store": "store", "splits": "splits", "benchmark": "params:benchmark"}
    plan = {"plan": "params:plan"}
    files = {name: name for name in (*ONNX_FILES, "compressed_onnx", "engines", "engines_table")}
    tables = ["benchmark_table", "latency_table"]
    judge = stage_node(evaluate, {**held_out, **plan}, results, task=task)
    inputs = {**held_out, **files, "export": "params:export", **plan}
    return stage_pipeline("benchmark", [judge, stage_node(compare_variants, inputs, tables, task=task)])


def compare_variants(
    task: Task,
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
    plan: PlanParameters,
) -> tuple[Table, Table]:
    """Measure every form of the network on the same test images, those on a GPU within the budget.

    Returns:
        A row a form: quality, latency, throughput, memory, size, whether it passed and is recommended, or why it could
        not run here, with how many of the test samples it was judged on; and a row a form and batch size.
    """
    import pandas as pd

    from eightgig.bench.parameters import GateParameters
    from eightgig.bench.variants import benchmark_variants
    from eightgig.stages import variants

    indices, evaluator = indices_of(splits, "test"), task.evaluator(weights.card.classes)
    memory = inference_plan(plan.model_copy(update={"device": "auto"}))
    # An engine refuses batches beyond its profile.
    number, size = benchmark.num_images, min(benchmark.batch_size, export.tensorrt.max_batch)

    def batches() -> Iterator[tuple[Feeds, list[Any]]]:
        inputs = labelled_inputs(task, weights, store, indices, num_images=number, batch_size=size)
        return track(inputs, "running variants")

    files = dict(zip(ONNX_FILES, (onnx_fp32, onnx_fp16, onnx_int8_cpu, onnx_int8_trt), strict=True))
    smaller = {f"onnx_{name}": file for name, file in compressed_onnx.items()}
    torch_forms = partial(
        variants.torch_variants,
        task,
        weights,
        example=sample_input(task, weights.card, store, indices[0]),
        compiles=benchmark.torch_compile,
    )
    rows, speed = benchmark_variants(
        [
            *torch_forms("cpu"),
            *variants.onnx_variants(files | smaller, "cpu"),
            *torch_forms("cuda"),
            *variants.onnx_variants(
                {name: files[name] for name in ("onnx_fp32", "onnx_fp16")},
                "cuda",
                memory_limit_bytes=memory.budget_bytes,
            ),
            *variants.engine_variants(engines, engines_table, files, export.tensorrt),
        ],
        batches,
        evaluator,
        latency=benchmark.latency,
        gates=GateParameters(
            max_drop=export.quantize.max_drop,
            parity_fp32=export.parity.tolerance,
            parity_reduced=export.parity.tolerance_reduced,
            min_speedup=benchmark.min_speedup,
        ),
        whole_call=partial(_from_image_to_answer, task, weights, store, indices[0], evaluator),
        memory=memory,
    )
    judged = _table_of(rows).assign(judged_on=min(number, len(indices)), held_out=len(indices))
    return judged, pd.DataFrame([row.model_dump() for row in speed])


def _table_of(rows: "list[VariantRow]") -> Table:
    """Return the rows with all that the task tells in columns of their own; the score has its column already."""
    import pandas as pd

    others = [{n: v for n, v in row.quality.items() if n != row.score_name} for row in rows]
    named = [row.model_dump(exclude={"quality"}) for row in rows]
    return pd.DataFrame([row | other for row, other in zip(named, others, strict=True)])


def _from_image_to_answer(
    task: Task, weights: Weights, store: ImageStore, index: int, evaluator: Evaluator, runner: "Runner"
) -> Callable[[], object]:
    """Return the call that a user makes: one stored image to what the network says of it."""

    def call() -> object:
        return evaluator.predictions(runner.run(sample_input(task, weights.card, store, index)))[0]

    return call
