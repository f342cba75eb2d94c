"""How well the trained network predicts text that it never saw."""

from eightgig.bench.parameters import BenchmarkParameters
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import Table, TokenStore
from eightgig.stages.inference import held_out_batches, on_device
from eightgig.stages.task import Task
from eightgig.stages.trained import restore
from eightgig.tasks.text.generation.records import LanguageReport
from eightgig.vram.parameters import PlanParameters

RESULTS = "metrics"
"""The datasets that `evaluate` gives."""


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

    batches = held_out_batches(task, weights, store, splits, batch_size=benchmark.batch_size)
    module = restore(task, weights).module
    with on_device(module, plan) as in_pieces:
        return evaluate_language(
            module,
            batches,
            num_bytes=store.num_bytes,
            documents=store.paths,
            device=next(module.parameters()).device,
            ask=in_pieces,
        )
