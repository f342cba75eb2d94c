"""Which image is for training, validation or the final test; and copies of one, in a manifest or in two splits."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from eightgig.core.errors import DataError
from eightgig.core.seeding import seed_from

Group = list[int]
"""Rows of the manifest that show the same image."""
_FEW = 3  # one image a split: a class with fewer cannot be drawn by itself


def make_splits(manifest: pd.DataFrame, *, val_fraction: float, test_fraction: float, seed: int) -> pd.DataFrame:
    """Return one row an image: `index` (its row in the manifest), `path`, `class_name`, `split`.

    `split` is `train`, `val` or `test`. In each class the shares are as wanted, as near as whole images and copies
    kept together allow; each split has at least one where the class has three different images. An image's place
    in the draw comes from the seed and its content, so neither file names nor their order matter.

    Ready-made splits (a column `split` with other than empty texts) are kept; one that is missing is drawn from the
    images for training.
    """
    given = given_splits(manifest)
    fractions = {"test": test_fraction, "val": val_fraction}
    missing = {split: share for split, share in fractions.items() if split not in set(given)}
    is_free = (given == "train") | (given == "")
    splits = given.copy()
    splits[is_free] = draw_splits(manifest[is_free], missing, seed)
    columns = {"path": manifest["path"].to_numpy(), "class_name": manifest["class_name"].to_numpy()}
    return pd.DataFrame({"index": range(len(manifest)), **columns, "split": splits})


def given_splits(manifest: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Return the ready-made split of each row, empty text where there is none; a table from a file has gaps."""
    if "split" not in manifest:
        return np.full(len(manifest), "", dtype=object)
    return manifest["split"].astype(object).fillna("").to_numpy(dtype=object)


def draw_splits(manifest: pd.DataFrame, fractions: Mapping[str, float], seed: int) -> npt.NDArray[np.object_]:
    """Return the split of each row: one of `fractions`, or `train`, drawn by class as `make_splits` tells."""
    splits = np.full(len(manifest), "train", dtype=object)
    for rows in manifest.reset_index(drop=True).groupby("class_name").groups.values():
        groups = _shuffled_groups(manifest["content_hash"].iloc[rows].tolist(), list(rows), seed)
        for num_drawn, (split, fraction) in enumerate(fractions.items()):
            chosen, groups = _choose(groups, round(fraction * len(rows)), num_left=len(fractions) - num_drawn)
            splits[[row for group in chosen for row in group]] = split
    return splits


def _shuffled_groups(hashes: Sequence[str], rows: list[int], seed: int) -> list[Group]:
    by_content: dict[str, Group] = {}
    for content, row in zip(hashes, rows, strict=True):
        by_content.setdefault(content, []).append(row)
    return [by_content[content] for content in sorted(by_content, key=lambda c: (seed_from(seed, "split", c), c))]


def _choose(groups: list[Group], wanted: int, num_left: int) -> tuple[list[Group], list[Group]]:
    """Take whole groups up to `wanted` rows, at least one group; leave `num_left`, or one where there are only two.

    Returns:
        What was taken, and what was left, in their order.
    """
    most = max(len(groups) - num_left, 1 if len(groups) > 1 else 0)
    room = min(max(wanted, 1), sum(map(len, groups)) - 1)
    chosen: set[int] = set()
    for place, group in enumerate(groups):
        if len(group) <= room and len(chosen) < most:
            chosen.add(place)
            room -= len(group)
    if not chosen:
        chosen = set(sorted(range(len(groups)), key=lambda place: len(groups[place]))[: min(most, 1)])
    taken = [group for place, group in enumerate(groups) if place in chosen]
    return taken, [group for place, group in enumerate(groups) if place not in chosen]


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


def contradicting(manifest: pd.DataFrame, said: str) -> "pd.Series[bool]":
    """Return which rows have a copy with something else in the column `said`, such as another class."""
    if manifest.empty:
        return pd.Series(dtype=bool)
    return manifest.groupby("content_hash")[said].transform("nunique").gt(1)


def judging_split(manifest: pd.DataFrame, judges: Sequence[str] = ("test", "val")) -> pd.DataFrame:
    """Return for each row its `own` rank among the splits that judge, and the `first` of those of all its copies.

    Args:
        manifest: with `content_hash` and ready-made splits.
        judges: in their order; all other splits come behind them, with one rank.
    """
    own = manifest["split"].map({split: rank for rank, split in enumerate(judges)}).fillna(len(judges))
    return pd.DataFrame({"own": own, "first": own.groupby(manifest["content_hash"]).transform("min")})
