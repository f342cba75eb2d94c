"""Predict: classes of new pictures, as a table and a contact sheet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kedro.pipeline import Pipeline
from pydantic import Field

from eightgig.core.errors import ConfigurationError, DataError, ImageRejectedError
from eightgig.core.progress import track
from eightgig.core.records import Record
from eightgig.data.parameters import DataParameters
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import ImageStore, Picture, Table
from eightgig.stages.case import Case, stage_node, stage_pipeline
from eightgig.stages.trained import indices_of, restore

_TABLE_COLUMNS = ("file", "class_name", "probability", "top_5")
_REJECT_COLUMNS = ("file", "reason", "detail")


class PredictParameters(Record):
    """What to classify.

    Attributes:
        source: a picture, or a folder of pictures (nested ones too); None takes a few held-out pictures of the store.
        num_samples: how many held-out pictures, without a source.
        batch_size: pictures at a time.
        sheet_pictures: the contact sheet shows this many at most; the table has all.
    """

    source: str | None = None
    num_samples: int = Field(default=12, ge=1)
    batch_size: int = Field(default=16, ge=1)
    sheet_pictures: int = Field(default=48, ge=1)


class _Sample(NamedTuple):
    file: str
    image_HWC: Picture


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
    case: Case, weights: Weights, store: ImageStore, splits: Table, data: DataParameters, predict: PredictParameters
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

    from eightgig.report.pictures import Tile, contact_sheet
    from eightgig.training.loop import windows

    rejects: list[tuple[str, str, str]] = []
    rows: list[tuple[str, str, float, str]] = []
    tiles: list[Tile] = []
    classify = _Classifier(case, weights)
    samples = _held_out(store, splits, predict) if predict.source is None else _from_source(predict, data, rejects)
    for batch in windows(samples, predict.batch_size):
        for sample, row in zip(batch, classify(batch), strict=True):
            rows.append((sample.file, *row))
            if len(tiles) < predict.sheet_pictures:
                tiles.append(Tile(_thumbnail(sample.image_HWC), f"{row[0]} {row[1]:.0%}"))
    if not rows:
        raise DataError(
            f"{predict.source}: none of {len(rejects)} files can be read as a picture: {_examples(rejects)}"
        )
    table = pd.DataFrame(rows, columns=list(_TABLE_COLUMNS))
    return table, pd.DataFrame(rejects, columns=list(_REJECT_COLUMNS)), contact_sheet(tiles)


class _Classifier:
    """The trained network on whole pictures of any size."""

    def __init__(self, case: Case, weights: Weights) -> None:
        self._case, self._card = case, weights.card
        self._module = restore(case, weights).module

    def __call__(self, samples: list[_Sample]) -> list[tuple[str, float, str]]:
        import torch

        cropped = [self._case.eval_picture(sample.image_HWC, image_size=self._card.image_size) for sample in samples]
        with torch.inference_mode():
            inputs = self._case.inputs(self._card, {"images": torch.stack(cropped)})
            likeliest = self._module(inputs).softmax(1).topk(min(5, len(self._card.classes)))
        return [self._row(*pair) for pair in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)]

    def _row(self, probabilities: list[float], indices: list[int]) -> tuple[str, float, str]:
        names = [self._card.classes[index] for index in indices]
        top_5 = "; ".join(f"{name} {probability:.4f}" for name, probability in zip(names, probabilities, strict=True))
        return names[0], round(probabilities[0], 6), top_5


def _held_out(store: ImageStore, splits: Table, predict: PredictParameters) -> Iterator[_Sample]:
    indices = indices_of(splits, "test")
    for index in indices[:: max(1, len(indices) // predict.num_samples)][: predict.num_samples]:
        yield _Sample(store.paths[index], store.decode(index))


def _from_source(
    predict: PredictParameters, data: DataParameters, rejects: list[tuple[str, str, str]]
) -> Iterator[_Sample]:
    from eightgig.data.images import decode_rgb

    root = Path(predict.source or "").expanduser()
    if not root.exists():
        raise ConfigurationError(
            f"predict.source: {root} does not exist. Name a picture or a folder of pictures, or leave it null to see "
            "a few held-out pictures."
        )
    files = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]
    if not files:
        raise DataError(f"predict.source: the folder {root} holds no files. Name a picture or a folder of pictures.")
    for path in track(files, "classifying"):
        try:
            yield _Sample(str(path), decode_rgb(path.read_bytes(), max_pixels=data.max_pixels))
        except ImageRejectedError as error:
            rejects.append((str(path), error.reason, error.detail))
        except OSError as error:
            rejects.append((str(path), "unreadable", str(error)))


def _thumbnail(image_HWC: Picture, side_px: int = 256) -> Any:
    """A sheet of 48 photos from a camera would otherwise hold gigabytes."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(image_HWC)
    image.thumbnail((side_px, side_px))
    return np.asarray(image)


def _examples(rejects: list[tuple[str, str, str]]) -> str:
    shown = "; ".join(f"{Path(file).name} ({reason}: {detail})" for file, reason, detail in rejects[:3])
    return shown + ("; ..." if len(rejects) > 3 else "")
