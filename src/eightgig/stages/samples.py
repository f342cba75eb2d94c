"""The images that `predict` works on: what the user names, or a few held-out ones of the store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from eightgig.core.errors import ConfigurationError, DataError, ImageRejectedError
from eightgig.core.progress import track
from eightgig.core.records import Record
from eightgig.stages.annotations import ImageArray, ImageStore, Table
from eightgig.stages.trained import indices_of


class PredictParameters(Record):
    """Which images to work on.

    Attributes:
        source: an image, or a folder of images (nested ones too); None takes a few held-out images of the store.
        num_samples: how many held-out images, without a source.
        batch_size: images at a time.
        sheet_images: the contact sheet shows this many at most; the table has all.
    """

    renamed: ClassVar = {"sheet_pictures": "sheet_images"}

    source: str | None = None
    num_samples: int = Field(default=12, ge=1)
    batch_size: int = Field(default=16, ge=1)
    sheet_images: int = Field(default=48, ge=1)


class Sample(NamedTuple):
    """One image: where it is from, and its upright RGB pixels."""

    file: str
    image_HWC: ImageArray


Rejects = list[tuple[str, str, str]]
"""File, reason, detail of each that could not be read."""
REJECT_COLUMNS = ("file", "reason", "detail")


def samples_of(
    predict: PredictParameters, store: ImageStore, splits: Table, *, max_pixels: int, rejects: Rejects
) -> Iterator[Sample]:
    """Yield the images one by one; files that cannot be read are added to `rejects`.

    Raises:
        ConfigurationError: the source does not exist.
        DataError: the source is an empty folder.
    """
    if predict.source is None:
        return _held_out(store, splits, predict)
    return _from_source(predict, max_pixels, rejects)


def require_one(num_found: int, predict: PredictParameters, rejects: Rejects) -> None:
    """Refuse a source of which nothing could be read as an image. DataError names the first files."""
    if not num_found:
        raise DataError(f"{predict.source}: none of {len(rejects)} files can be read as an image: {_examples(rejects)}")


def thumbnail(image_HWC: ImageArray, side_px: int = 256) -> Any:
    """Return the image at most `side_px` a side: a sheet of 48 photos from a camera would otherwise hold gigabytes."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(image_HWC)
    image.thumbnail((side_px, side_px))
    return np.asarray(image)


def _held_out(store: ImageStore, splits: Table, predict: PredictParameters) -> Iterator[Sample]:
    indices = indices_of(splits, "test")
    for index in indices[:: max(1, len(indices) // predict.num_samples)][: predict.num_samples]:
        yield Sample(store.paths[index], store.decode(index))


def _from_source(predict: PredictParameters, max_pixels: int, rejects: Rejects) -> Iterator[Sample]:
    from eightgig.data.images.decoding import decode_rgb

    root = Path(predict.source or "").expanduser()
    if not root.exists():
        raise ConfigurationError(
            f"predict.source: {root} does not exist. Name an image or a folder of images, or leave it null to see "
            "a few held-out images."
        )
    files = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]
    if not files:
        raise DataError(f"predict.source: the folder {root} holds no files. Name an image or a folder of images.")
    for path in track(files, "predicting"):
        try:
            yield Sample(str(path), decode_rgb(path.read_bytes(), max_pixels=max_pixels))
        except ImageRejectedError as error:
            rejects.append((str(path), error.reason, error.detail))
        except OSError as error:
            rejects.append((str(path), "unreadable", str(error)))


def _examples(rejects: Rejects) -> str:
    shown = "; ".join(f"{Path(file).name} ({reason}: {detail})" for file, reason, detail in rejects[:3])
    return shown + ("; ..." if len(rejects) > 3 else "")
