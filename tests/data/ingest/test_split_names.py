"""One list of the names of ready-made splits, for every kind of data."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eightgig.data.ingest.split_names import split_above, split_of, split_within

NAMES = {
    "train": "train", "training": "train", "trn": "train", "val": "val", "valid": "val", "validation": "val",
    "validate": "val", "dev": "val", "devel": "val", "development": "val", "eval": "val", "evaluation": "val",
    "test": "test", "testing": "test", "tst": "test",
}  # fmt: skip


@given(
    st.sampled_from(sorted(NAMES)),
    st.sampled_from(["{}", "{}_set", "{} data", "{}set", "{}2017", "01_{}", "{}-images", "Dataset-{}"]),
    st.sampled_from([str.lower, str.upper, str.title]),
    st.sampled_from(["NFC", "NFD"]),
)
def test_a_name_of_a_split_is_known_in_any_dress(word, dress, case, form):
    assert split_of(unicodedata.normalize(form, case(dress.format(word)))) == NAMES[word]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "cat",
        "trains",
        "tested",
        "training wheels",
        "train_test",
        "set",
        "data",
        "tr\u00e4in",
        "train_\u00e9",
        "pretest",
    ],
)
def test_other_names_are_none(name):
    assert split_of(name) is None


@pytest.mark.parametrize(
    ("name", "split"),
    [("instances_train2017.json", "train"), ("seg_test", "test"), ("person_keypoints_VAL2017.json", "val"),
     ("train_val.json", None), ("labels.json", None)],
)  # fmt: skip
def test_a_word_within_a_name_tells_where_it_is_alone(name, split):
    assert split_within(name) == split


@pytest.mark.parametrize(
    ("path", "split"),
    [("train/images/a.jpg", "train"), ("test/val/a.jpg", "val"), ("a/train.jpg", None), ("Validation/x/y.png", "val")],
)
def test_the_nearest_folder_above_tells(path, split):
    assert split_above(path) == split
