"""How well the trained network predicts text that it never saw."""

from kedro.pipeline import Node

from eightgig.bench.parameters import BenchmarkParameters
from eightgig.core.progress import track
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import Table, TokenStore
from eightgig.stages.inference import on_device
from eightgig.stages.inputs import workers_for
from eightgig.stages.task import Task, stage_node
from eightgig.stages.trained import indices_of, restore
from eightgig.tasks.text.generation.records import LanguageReport
from eightgig.vram.parameters import PlanParameters


def evaluation(task: Task) -> Node:
    """Return the benchmark's node from `weights` to `metrics`."""
    held_out = {"weights": "weights", "store": "store", "splits": "splits", "benchmark": "params:benchmark"}
    held_out["plan"] = "params:plan"
    return stage_node(evaluate, held_out, "metrics", task=task)


def evaluate(
    task: Task,
    weights: Weights,
    store: TokenStore,
    splits: Table,
    benchmark: BenchmarkParameters,
    plan: PlanParameters,
) -> LanguageReport:
    """Judge the trained network on all blocks of the test documents."""
    from eightgig.tasks.text.generation.metrics import evaluate_language

    task.check_store(weights.card, store)
    indices, size, number = indices_of(splits, "test"), weights.card.size, benchmark.batch_size
    workers = workers_for(len(indices), number)
    batches = task.eval_batches(store, indices, size=size, batch_size=number, num_workers=workers)
    module = restore(task, weights).module
    with on_device(module, plan) as in_pieces:
        return evaluate_language(
            module,
            track(batches, "evaluating"),
            num_bytes=store.num_bytes,
            documents=store.paths,
            device=next(module.parameters()).device,
            ask=in_pieces,
        )
