"""Which image with boxes is for training, validation or the final test."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from eightgig.core.errors import DataError
from eightgig.data.ingest.splits import draw_splits

_FEW = 3


def make_detection_splits(
    manifest: pd.DataFrame, boxes: pd.DataFrame, *, val_fraction: float, test_fraction: float, seed: int
) -> pd.DataFrame:
    """Return one row an image: `index` (its row in the manifest), `path`, `class_name`, `split`.

    `split` is `train`, `val` or `test`; ready-made ones are kept, and a missing one is drawn from the rest. Images
    are drawn by their rarest class (`class_name`, the class on the fewest images; empty without boxes), so that rare
    classes are in each split where there are enough of them. Copies stay together, and an image's place in the draw
    comes from the seed and its content.

    Raises:
        DataError: there are not three different images, or none is left for training.
    """
    given = manifest["split"].fillna("").to_numpy(dtype=object)
    rarest = _rarest_classes(len(manifest), boxes)
    splits = given.copy()
    is_free = (given == "train") | (given == "")
    fractions = {"test": test_fraction, "val": val_fraction}
    missing = {split: share for split, share in fractions.items() if split not in set(given)}
    free = manifest[["content_hash"]].assign(class_name=rarest).loc[is_free]
    splits[is_free] = draw_splits(_without_small_strata(free), missing, seed)
    _require_all(splits, manifest)
    columns = {"path": manifest["path"].to_numpy(), "class_name": rarest.to_numpy()}
    return pd.DataFrame({"index": range(len(manifest)), **columns, "split": splits})


def _rarest_classes(num_images: int, boxes: pd.DataFrame) -> pd.Series:
    """Return the class of each image that is on the fewest images, the first in the list of classes of several."""
    on_images = boxes[["index", "label", "class_name"]].drop_duplicates()
    counts = on_images["label"].map(on_images["label"].value_counts())
    ordered = on_images.assign(count=counts).sort_values(["index", "count", "label"]).drop_duplicates("index")
    return ordered.set_index("index")["class_name"].reindex(range(num_images), fill_value="")


def _without_small_strata(free: pd.DataFrame) -> pd.DataFrame:
    """Draw the images of classes with under three different images together: alone they would all be trained on."""
    first_class = free.groupby("content_hash")["class_name"].transform("first")
    num_contents = free.groupby(first_class)["content_hash"].transform("nunique")
    return free.assign(class_name=first_class.where(num_contents >= _FEW, "")).reset_index(drop=True)


def _require_all(splits: npt.NDArray[np.object_], manifest: pd.DataFrame) -> None:
    empty = [split for split in ("train", "val", "test") if split not in set(splits)]
    if empty:
        raise DataError(
            f"wanted images for train, val and test, but none are left for {' and '.join(empty)}: of "
            f"{manifest['content_hash'].nunique()} different images, too few are free to be drawn. Add images."
        )
