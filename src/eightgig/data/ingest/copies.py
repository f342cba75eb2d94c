"""Copies of one image or text in a manifest: those that contradict each other, and those in two splits."""

from collections.abc import Sequence

import pandas as pd


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
