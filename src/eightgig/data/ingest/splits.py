"""Which image is for training, validation or the final test."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from eightgig.core.seeding import seed_from

Group = list[int]
"""Rows of the manifest that show the same image."""


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
