"""Predict: classes of new pictures, as a table and a contact sheet."""

from kedro.pipeline import Pipeline

from eightgig.data.parameters import DataParameters
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import ImageStore, Picture, Table
from eightgig.stages.case import Case, stage_node, stage_pipeline
from eightgig.stages.pictures import CaseOnPictures
from eightgig.stages.samples import (
    REJECT_COLUMNS,
    PredictParameters,
    Rejects,
    Sample,
    require_one,
    samples_of,
    thumbnail,
)
from eightgig.stages.trained import restore

_TABLE_COLUMNS = ("file", "class_name", "probability", "top_5")


def create_pipeline(case: Case) -> Pipeline:
    """Give the node from `weights` to `predict_table`, `predict_rejects_table` and `predict_sheet`."""
    inputs = {
        "weights": "weights",
        "store": "store",
        "splits": "splits",
        "data": "params:data",
        "predict": "params:predict",
    }
    outputs = ["predict_table", "predict_rejects_table", "predict_sheet"]
    return stage_pipeline("predict", [stage_node(predict_pictures, inputs, outputs, case=case)])


def predict_pictures(
    case: CaseOnPictures,
    weights: Weights,
    store: ImageStore,
    splits: Table,
    data: DataParameters,
    predict: PredictParameters,
) -> tuple[Table, Table, Picture]:
    """Classify pictures with the trained network.

    Returns:
        One row a picture (file, class, its probability, the five likeliest); the files that could not be read, with
        reasons; a contact sheet.

    Raises:
        ConfigurationError: the source does not exist.
        DataError: nothing in the source is a picture.
    """
    import pandas as pd

    from eightgig.data.streaming import windows
    from eightgig.report.pictures import Tile, contact_sheet

    rejects: Rejects = []
    rows: list[tuple[str, str, float, str]] = []
    tiles: list[Tile] = []
    classify = _Classifier(case, weights)
    samples = samples_of(predict, store, splits, max_pixels=data.max_pixels, rejects=rejects)
    for batch in windows(samples, predict.batch_size):
        for sample, row in zip(batch, classify(batch), strict=True):
            rows.append((sample.file, *row))
            if len(tiles) < predict.sheet_pictures:
                tiles.append(Tile(thumbnail(sample.image_HWC), f"{row[0]} {row[1]:.0%}"))
    require_one(len(rows), predict, rejects)
    table = pd.DataFrame(rows, columns=list(_TABLE_COLUMNS))
    return table, pd.DataFrame(rejects, columns=list(REJECT_COLUMNS)), contact_sheet(tiles)


class _Classifier:
    """The trained network on whole pictures of any size."""

    def __init__(self, case: CaseOnPictures, weights: Weights) -> None:
        self._case, self._card = case, weights.card
        self._module = restore(case, weights).module

    def __call__(self, samples: list[Sample]) -> list[tuple[str, float, str]]:
        import torch

        cropped = [self._case.eval_picture(sample.image_HWC, image_size=self._card.image_size) for sample in samples]
        with torch.inference_mode():
            inputs = self._case.inputs(self._card, {"images": torch.stack(cropped)})["images"]
            likeliest = self._module(inputs).softmax(1).topk(min(5, len(self._card.classes)))
        return [self._row(*pair) for pair in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)]

    def _row(self, probabilities: list[float], indices: list[int]) -> tuple[str, float, str]:
        names = [self._card.classes[index] for index in indices]
        top_5 = "; ".join(f"{name} {probability:.4f}" for name, probability in zip(names, probabilities, strict=True))
        return names[0], round(probabilities[0], 6), top_5
