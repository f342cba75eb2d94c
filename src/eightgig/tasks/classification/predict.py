"""Predict: classes of new images, as a table and a contact sheet."""

from typing import TYPE_CHECKING

from kedro.pipeline import Pipeline

from eightgig.data.images.parameters import DataParameters
from eightgig.datasets.weights import Weights
from eightgig.models.cards import ImageCard
from eightgig.stages.annotations import ImageArray, ImageStore, Table
from eightgig.stages.images import ImageTask
from eightgig.stages.inference import running
from eightgig.stages.inputs import feeds_of
from eightgig.stages.samples import (
    REJECT_COLUMNS,
    PredictParameters,
    Rejects,
    Sample,
    require_one,
    samples_of,
    thumbnail,
)
from eightgig.stages.task import Task, stage_node, stage_pipeline
from eightgig.vram.parameters import PlanParameters

if TYPE_CHECKING:
    from eightgig.export.runners import Runner

_TABLE_COLUMNS = ("file", "class_name", "probability", "top_5")


def create_pipeline(task: Task) -> Pipeline:
    """Return the node from `weights` to `predict_table`, `predict_rejects_table` and `predict_sheet`."""
    inputs = {
        "weights": "weights",
        "store": "store",
        "splits": "splits",
        "data": "params:data",
        "predict": "params:predict",
        "plan": "params:plan",
    }
    outputs = ["predict_table", "predict_rejects_table", "predict_sheet"]
    return stage_pipeline("predict", [stage_node(predict_images, inputs, outputs, task=task)])


def predict_images(
    task: ImageTask,
    weights: Weights,
    store: ImageStore,
    splits: Table,
    data: DataParameters,
    predict: PredictParameters,
    plan: PlanParameters,
) -> tuple[Table, Table, ImageArray]:
    """Classify images with the trained network, on the GPU where there is one.

    Returns:
        One row an image (file, class, its probability, the five likeliest); the files that could not be read, with
        reasons; a contact sheet.

    Raises:
        ConfigurationError: the source does not exist.
        DataError: nothing in the source is an image.
    """
    import pandas as pd

    from eightgig.data.images.streaming import windows
    from eightgig.report.images import Tile, contact_sheet

    rejects: Rejects = []
    rows: list[tuple[str, str, float, str]] = []
    tiles: list[Tile] = []
    samples = samples_of(predict, store, splits, max_pixels=data.max_pixels, rejects=rejects)
    with running(task, weights, plan) as runner:
        classify = _Classifier(task, weights.card, runner)
        for batch in windows(samples, predict.batch_size):
            for sample, row in zip(batch, classify(batch), strict=True):
                rows.append((sample.file, *row))
                if len(tiles) < predict.sheet_images:
                    tiles.append(Tile(thumbnail(sample.image_HWC), f"{row[0]} {row[1]:.0%}"))
    require_one(len(rows), predict, rejects)
    table = pd.DataFrame(rows, columns=list(_TABLE_COLUMNS))
    return table, pd.DataFrame(rejects, columns=list(REJECT_COLUMNS)), contact_sheet(tiles)


class _Classifier:
    """The trained network on whole images of any size."""

    def __init__(self, task: ImageTask, card: ImageCard, runner: "Runner") -> None:
        self._task, self._card, self._runner = task, card, runner

    def __call__(self, samples: list[Sample]) -> list[tuple[str, float, str]]:
        import torch

        cropped = [self._task.eval_image(sample.image_HWC, image_size=self._card.image_size) for sample in samples]
        outputs = self._runner.run(feeds_of(self._task.inputs(self._card, {"images": torch.stack(cropped)})))
        (logits_NK,) = map(torch.from_numpy, outputs.values())
        likeliest = logits_NK.softmax(1).topk(min(5, len(self._card.classes)))
        return [self._row(*pair) for pair in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)]

    def _row(self, probabilities: list[float], indices: list[int]) -> tuple[str, float, str]:
        names = [self._card.classes[index] for index in indices]
        top_5 = "; ".join(f"{name} {probability:.4f}" for name, probability in zip(names, probabilities, strict=True))
        return names[0], round(probabilities[0], 6), top_5
