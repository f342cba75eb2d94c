"""How right the trained network is on the whole test split."""

from kedro.pipeline import Node

from eightgig.bench.parameters import BenchmarkParameters
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import ImageStore, Table
from eightgig.stages.images import ImageTask
from eightgig.stages.inference import running
from eightgig.stages.inputs import network_inputs
from eightgig.stages.task import stage_node
from eightgig.stages.trained import indices_of
from eightgig.tasks.image_regression.parameters import RegressionReport
from eightgig.vram.parameters import PlanParameters


def evaluation(task: ImageTask) -> Node:
    """Return the benchmark's node from `weights` to `metrics` and `predictions_table`."""
    inputs = {"weights": "weights", "store": "store", "splits": "splits"}
    inputs |= {"benchmark": "params:benchmark", "plan": "params:plan"}
    return stage_node(evaluate, inputs, ["metrics", "predictions_table"], task=task)


def evaluate(
    task: ImageTask,
    weights: Weights,
    store: ImageStore,
    splits: Table,
    benchmark: BenchmarkParameters,
    plan: PlanParameters,
) -> tuple[RegressionReport, Table]:
    """Return the errors on the test images, and a row an image, the worst first."""
    import pandas as pd

    from eightgig.tasks.image_regression.objective import quality

    indices, evaluator = indices_of(splits, "test"), task.evaluator(weights.card.classes)
    how = {"num_images": len(indices), "batch_size": benchmark.batch_size}
    with running(task, weights, plan) as runner:
        batches = network_inputs(task, weights, store, indices, **how)
        found = [number for feeds in batches for number in evaluator.predictions(runner.run(feeds))]
    values, mean = store.values[indices], store.values[indices_of(splits, "train")].mean()
    own, baseline = quality(found, values), quality([mean] * len(values), values)
    errors = {"mae": own["mae"], "r2": own["R²"], "mae_of_mean": baseline["mae"]}
    rows = {"index": indices, "path": [store.paths[index] for index in indices], "value": values}
    table = pd.DataFrame(rows).assign(found=found, error=abs(values - found))
    worst_first = table.sort_values("error", ascending=False, ignore_index=True)
    return RegressionReport(num_images=len(values), **errors), worst_first
