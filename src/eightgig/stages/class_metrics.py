"""How right the trained classifier is on the whole test split."""

from typing import TYPE_CHECKING, Any

from eightgig.bench.parameters import BenchmarkParameters
from eightgig.bench.records import ClassificationReport
from eightgig.core.progress import track
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import ImageStore, Table
from eightgig.stages.inference import running
from eightgig.stages.inputs import network_inputs
from eightgig.stages.task import Task
from eightgig.stages.trained import indices_of
from eightgig.vram.parameters import PlanParameters

if TYPE_CHECKING:
    from eightgig.export.runners import Runner


RESULTS = ["metrics", "per_class_table", "confusion_table", "predictions_table"]
"""The datasets that `evaluate` gives."""


def evaluate(
    task: Task,
    weights: Weights,
    store: ImageStore,
    splits: Table,
    benchmark: BenchmarkParameters,
    plan: PlanParameters,
) -> tuple[ClassificationReport, Table, Table, Table]:
    """Judge the trained network on the whole test split.

    Returns:
        The figures; a row a class; the confusion matrix (rows are true classes, named in the first column); a row an
        image with what was predicted.
    """
    from eightgig.bench.classification import evaluate as judge

    indices = indices_of(splits, "test")
    with running(task, weights, plan) as runner:
        probabilities_NK = _probabilities(task, weights, store, indices, runner, benchmark.batch_size)
    metrics, per_class, confusion = judge(probabilities_NK, store.labels[indices], store.classes)
    return metrics, per_class, confusion.reset_index(), _prediction_rows(store, indices, probabilities_NK)


def _probabilities(
    task: Task, weights: Weights, store: ImageStore, indices: list[int], runner: "Runner", batch_size: int
) -> Any:
    """Return float64 NK probabilities of one runner for the images `indices`, in their order."""
    import numpy as np

    from eightgig.export.runners import softmax

    batches = network_inputs(task, weights, store, indices, num_images=len(indices), batch_size=batch_size)
    total = -(-len(indices) // batch_size)
    predictions = [runner.run(feeds)["logits"] for feeds in track(batches, "evaluating", total=total)]
    return softmax(np.concatenate(predictions))


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
