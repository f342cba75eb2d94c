"""How well the trained network predicts text that it never saw."""

from kedro.pipeline import Node

from eightgig.bench.language_records import LanguageReport
from eightgig.bench.parameters import BenchmarkParameters
from eightgig.core.device import resolve_device
from eightgig.core.progress import track
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import Table, TokenStore
from eightgig.stages.case import Case, stage_node
from eightgig.stages.trained import indices_of, restore


def evaluation(case: Case) -> Node:
    """Give the benchmark's node from `weights` to `metrics`."""
    held_out = {"weights": "weights", "store": "store", "splits": "splits", "benchmark": "params:benchmark"}
    return stage_node(evaluate, held_out, "metrics", case=case)


def evaluate(
    case: Case, weights: Weights, store: TokenStore, splits: Table, benchmark: BenchmarkParameters
) -> LanguageReport:
    """Judge the trained network on all blocks of the test documents."""
    import torch

    from eightgig.bench.language import evaluate_language

    case.check_store(weights.card, store)
    device = torch.device(resolve_device("auto"))
    batches = case.eval_batches(
        store, indices_of(splits, "test"), size=weights.card.size, batch_size=benchmark.batch_size
    )
    return evaluate_language(
        restore(case, weights).module.to(device),
        track(batches, "evaluating"),
        num_bytes=store.num_bytes,
        documents=store.paths,
        device=device,
    )
