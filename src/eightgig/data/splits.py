"""Which picture is for training, validation or the final test."""

from collections.abc import Sequence

import pandas as pd

from eightgig.core.seeding import seed_from

Group = list[int]
"""Rows of the manifest that show the same picture."""


def make_splits(manifest: pd.DataFrame, *, val_fraction: float, test_fraction: float, seed: int) -> pd.DataFrame:
    """Give one row a picture: `index` (its row in the manifest), `path`, `class_name`, `split`.

    `split` is `train`, `val` or `test`. In each class the shares are as wanted, as near as whole pictures and copies
    kept together allow; each split has at least one where the class has three different pictures. A picture's place
    in the draw comes from the seed and its content, so neither file names nor their order matter.
    """
    splits = pd.Series("train", index=range(len(manifest)), dtype="object")
    for rows in manifest.reset_index(drop=True).groupby("class_name").groups.values():
        groups = _shuffled_groups(manifest["content_hash"].iloc[rows].tolist(), list(rows), seed)
        for split, fraction, num_left in (("test", test_fraction, 2), ("val", val_fraction, 1)):
            chosen = _choose(groups, round(fraction * len(rows)), num_left)
            splits.loc[[row for group in chosen for row in group]] = split
            groups = [group for group in groups if group not in chosen]
    columns = {"path": manifest["path"].to_numpy(), "class_name": manifest["class_name"].to_numpy()}
    return pd.DataFrame({"index": range(len(manifest)), **columns, "split": splits.to_numpy()})


def _shuffled_groups(hashes: Sequence[str], rows: list[int], seed: int) -> list[Group]:
    by_content: dict[str, Group] = {}
    for content, row in zip(hashes, rows, strict=True):
        by_content.setdefault(content, []).append(row)
    return [by_content[content] for content in sorted(by_content, key=lambda c: (seed_from(seed, "split", c), c))]


def _choose(groups: list[Group], wanted: int, num_left: int) -> list[Group]:
    """Take whole groups up to `wanted` rows, at least one group; leave `num_left`, or one where there are only two."""
    most = max(len(groups) - num_left, 1 if len(groups) > 1 else 0)
    room = min(max(wanted, 1), sum(map(len, groups)) - 1)
    chosen: list[Group] = []
    for group in groups:
        if len(group) <= room and len(chosen) < most:
            chosen.append(group)
            room -= len(group)
    return chosen or sorted(groups, key=len)[: min(most, 1)]
