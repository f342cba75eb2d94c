import io
import time
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.data.ingest.splits import make_splits


def manifest(contents_by_class: dict[str, list[int]]) -> pd.DataFrame:
    rows = [
        {"path": f"{name}/{number}.jpg", "class_name": name, "content_hash": f"{name}-{content}"}
        for name, contents in contents_by_class.items()
        for number, content in enumerate(contents)
    ]
    return pd.DataFrame(rows)


classes = st.dictionaries(
    st.sampled_from(["daisy", "rose", "tulip"]),
    st.lists(st.integers(0, 30), min_size=1, max_size=60),
    min_size=1,
)
fractions = st.floats(0.01, 0.44)


@settings(deadline=None, max_examples=150)
@given(classes, fractions, fractions, st.integers(0, 5))
def test_splits_hold_what_they_promise(
    contents: dict[str, list[int]], val_fraction: float, test_fraction: float, seed: int
) -> None:
    table = manifest(contents)
    splits = make_splits(table, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed)
    assert list(splits.columns) == ["index", "path", "class_name", "split"]
    assert splits["index"].tolist() == list(range(len(table)))
    assert splits["path"].tolist() == table["path"].tolist()
    assert splits.groupby(table["content_hash"])["split"].nunique().max() == 1
    for name, rows in splits.groupby("class_name"):
        wanted = min(len(set(contents[str(name)])), 3)
        assert rows["split"].nunique() == wanted
        assert "train" in set(rows["split"])


@settings(deadline=None, max_examples=50)
@given(classes, st.randoms(use_true_random=False))
def test_the_order_of_files_and_their_names_do_not_matter(contents: dict[str, list[int]], rng: object) -> None:
    table = manifest(contents)
    order = list(range(len(table)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    shuffled = table.iloc[order].reset_index(drop=True)
    first, second = (make_splits(t, val_fraction=0.2, test_fraction=0.2, seed=1) for t in (table, shuffled))
    by_content = [
        dict(zip(t["content_hash"], s["split"], strict=True)) for t, s in ((table, first), (shuffled, second))
    ]
    assert by_content[0] == by_content[1]


def test_shares_are_as_wanted_in_each_class_and_the_seed_decides() -> None:
    table = manifest({"daisy": list(range(200)), "rose": list(range(100))})
    splits = make_splits(table, val_fraction=0.15, test_fraction=0.25, seed=1)
    counts: Any = splits.groupby(["class_name", "split"]).size()
    assert counts["daisy"].to_dict() == {"test": 50, "train": 120, "val": 30}
    assert counts["rose"].to_dict() == {"test": 25, "train": 60, "val": 15}
    other = make_splits(table, val_fraction=0.15, test_fraction=0.25, seed=2)
    assert (splits["split"] != other["split"]).mean() > 0.2


def test_ready_made_splits_are_kept_and_a_missing_one_is_drawn_from_train() -> None:
    table = manifest({"daisy": list(range(100)), "rose": list(range(100, 200))})
    table["split"] = ["val" if number % 5 == 0 else "train" for number in range(200)]
    splits = make_splits(table, val_fraction=0.3, test_fraction=0.1, seed=0)
    assert (splits["split"][::5] == "val").all()
    counts: Any = splits.groupby(["class_name", "split"]).size()
    assert counts["daisy"].to_dict() == {"test": 8, "train": 72, "val": 20}


@pytest.mark.parametrize("given", [[""] * 12, ["train", "train", "val"] * 4])
def test_splits_are_the_same_from_a_table_and_from_its_file(given: list[str]) -> None:
    """In a file an empty text is a gap, and a column of gaps is one of numbers."""
    table = manifest({"daisy": list(range(6)), "rose": list(range(6, 12))}).assign(split=given)
    read = pd.read_csv(io.StringIO(table.to_csv(index=False)), na_values=[""], keep_default_na=False)
    first, second = (make_splits(each, val_fraction=0.2, test_fraction=0.2, seed=0) for each in (table, read))
    assert first["split"].tolist() == second["split"].tolist()
    assert set(first["split"]) == {"train", "val", "test"}


def test_a_large_class_is_drawn_in_no_time() -> None:
    table = manifest({"daisy": list(range(60_000))})
    begun = time.process_time()
    splits = make_splits(table, val_fraction=0.15, test_fraction=0.15, seed=0)
    assert splits["split"].value_counts().to_dict() == {"train": 42_000, "val": 9_000, "test": 9_000}
    assert time.process_time() - begun < 10
