"""How right the trained network is on the whole test split."""

from eightgig.bench.parameters import BenchmarkParameters
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import ImageStore, Table
from eightgig.stages.images import ImageTask
from eightgig.stages.inference import held_out_batches, running
from eightgig.stages.inputs import feeds_of
from eightgig.stages.trained import indices_of
from eightgig.tasks.image_regression.parameters import RegressionReport
from eightgig.vram.parameters import PlanParameters

RESULTS = ["metrics", "predictions_table"]


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

    from eightgig.tasks.image_regression.evaluator import errors_of

    evaluator, found = task.evaluator(weights.card.classes), list[float]()
    with running(task, weights, plan) as runner:
        for batch in held_out_batches(task, weights, store, splits, batch_size=benchmark.batch_size):
            found += evaluator.predictions(runner.run(feeds_of(task.inputs(weights.card, batch))))
    indices, mean = indices_of(splits, "test"), store.values[indices_of(splits, "train")].mean()
    values = store.values[indices]
    report = RegressionReport(num_images=len(values), **errors_of(found, values), mae_of_mean=abs(values - mean).mean())
    rows = {"index": indices, "path": [store.paths[index] for index in indices], "value": values}
    table = pd.DataFrame(rows).assign(found=found, error=abs(values - found))
    return report, table.sort_values("error", ascending=False, ignore_index=True)
