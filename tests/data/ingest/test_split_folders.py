"""What looks like ready-made splits but for one folder or name is refused with what was seen, or read and told."""

import unicodedata
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.core.errors import DataError
from eightgig.data.ingest.folders import scan_class_folders

NAMES = {
    "train": ["train", "Training", "TRAIN_SET", "train2017"],
    "val": ["val", "valid", "Validation", "dev", "eval"],
    "test": ["test", "Testing", "test-set"],
}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def xray(root: Path, *more: str) -> None:
    touch(root, *(f"{s}/{c}/{s}{c}.jpg" for s in ("train", "val", "test") for c in ("NORMAL", "PNEUMONIA")), *more)


@pytest.mark.parametrize(
    "more",
    ["extra/1.jpg", "raw/a/1.jpg", "chest_xray/train/NORMAL/1.jpg", "labels/1.PNG", "sample/deep/er/1.webp"],
)
def test_a_folder_of_images_beside_splits_is_refused_by_its_name(tmp_path, more):
    xray(tmp_path, more)
    name = more.partition("/")[0]
    wanted = (
        rf"'test', 'train', 'val' hold class folders, as ready-made splits do, but beside them lies '{name}' "
        r"\(1 images\).*set data\.layout to 'splits'.*'classes'"
    )
    with pytest.raises(DataError, match=wanted):
        scan_class_folders(tmp_path)


def test_the_user_says_what_a_folder_beside_splits_is(tmp_path):
    xray(tmp_path, "extra/1.jpg")
    as_splits = scan_class_folders(tmp_path, layout="splits")
    assert as_splits.classes == ("NORMAL", "PNEUMONIA")
    assert sorted(as_splits.splits) == ["test", "test", "train", "train", "val", "val"]
    assert as_splits.notes == (f"{tmp_path}: 'extra' beside the ready-made splits is left out",)
    assert scan_class_folders(tmp_path, layout="classes").classes == ("extra", "test", "train", "val")


@pytest.mark.parametrize(
    ("more", "notes"),
    [
        (["docs/readme.pdf"], ["'docs' beside the ready-made splits is left out"]),
        (["labels/train.csv", "logs/run.txt"], ["'labels', 'logs' beside the ready-made splits is left out"]),
        (["__MACOSX/train/NORMAL/._1.jpg", ".ipynb_checkpoints/1.jpg", "__macosx/x/1.jpg"], []),
        (["train/loose.jpg"], ["1 images beside the class folders are left out, such as loose.jpg"]),
        (["Validation/NORMAL/9.jpg"], ["'Validation', 'val' are both read as val"]),
    ],
)
def test_what_holds_no_class_is_left_out_and_told(tmp_path, more, notes):
    xray(tmp_path, *more)
    found = scan_class_folders(tmp_path)
    assert found.classes == ("NORMAL", "PNEUMONIA")
    assert [note.partition(": ")[2] for note in found.notes] == notes


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/1.jpg", "test/1.jpg"], "'test', 'train' are named like ready-made splits, but hold images directly"),
        (
            ["train/1.jpg", "val/1.jpg", "cat/1.jpg"],
            r"'train', 'val' \(beside 'cat'\) are named like ready-made splits",
        ),
        (
            ["seg_train/a/1.jpg", "seg_train/b/1.jpg", "seg_test/a/1.jpg", "seg_pred/1.jpg"],
            "'seg_test', 'seg_train' hold class folders and are named nearly like ready-made splits",
        ),
        (
            ["cat/train/1.jpg", "cat/test/1.jpg", "dog/train/1.jpg", "dog/test/1.jpg"],
            r"wanted splits above the classes \(train/CLASS\), found 'test', 'train' inside of 'cat'",
        ),
        (
            ["set/train/a/1.jpg", "set/val/a/1.jpg", "more/1.jpg"],
            r"found 'train', 'val' inside of 'set'\. Set data\.root to .*/set if that is the set",
        ),
        (["train/a/1.jpg", "train/b/1.jpg"], r"found only 'train'\. Where the set is inside of that, set data\.root"),
    ],
)
def test_other_near_misses_are_refused(tmp_path, files, message):
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=message):
        scan_class_folders(tmp_path)


def test_one_class_may_be_called_as_a_split_and_is_told(tmp_path):
    touch(tmp_path, "train/1.jpg", "bus/1.jpg", "car/more/1.jpg", "loose.jpg")
    found = scan_class_folders(tmp_path)
    assert found.classes == ("bus", "car", "train")
    assert found.notes == (
        f"{tmp_path}: 1 images beside the class folders are left out, such as loose.jpg",
        "the folder 'train' is read as a class, though splits are called so too",
    )


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(NAMES["train"]),
    st.sampled_from(NAMES["val"]),
    st.sampled_from(NAMES["test"]),
    st.sampled_from(["", "extra", "raw", "B\u00fccher", "images"]),
)
def test_splits_of_any_name_are_read_or_refused_and_are_never_classes(tmp_path_factory, train, val, test, more):
    root = tmp_path_factory.mktemp("set")
    touch(root, *(f"{split}/{name}/{split}.jpg" for split in (train, val, test) for name in ("a", "b")))
    if more:
        touch(root, f"{more}/1.jpg")
        with pytest.raises(DataError, match=f"beside them lies '{more}'"):
            scan_class_folders(root)
    else:
        found = scan_class_folders(root)
        assert found.classes == ("a", "b")
        assert sorted(found.splits) == ["test", "test", "train", "train", "val", "val"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_classes_meet_across_the_forms_of_unicode(tmp_path, form):
    other: Literal["NFC", "NFD"] = "NFD" if form == "NFC" else "NFC"
    rose, cafe = (unicodedata.normalize(form, name) for name in ("Ros\u00e9", "Caf\u00e9"))
    touch(tmp_path, f"train/{rose}/1.jpg", f"train/{cafe}/2.jpg", f"val/{unicodedata.normalize(other, rose)}/3.jpg")
    found = scan_class_folders(tmp_path)
    assert found.classes == ("Caf\u00e9", "Ros\u00e9")
    assert [(label, split) for (_, label), split in zip(found.files, found.splits, strict=True)] == [
        (0, "train"), (1, "train"), (1, "val"),
    ]  # fmt: skip
    assert all((tmp_path / path).is_file() for path, _ in found.files)


def test_two_folders_that_look_the_same_are_refused_with_escapes(tmp_path):
    touch(tmp_path, "Ros\u00e9/1.jpg", "Rose\u0301/2.jpg", "tulip/3.jpg")
    with pytest.raises(DataError, match=r"'Rose\\u0301', 'Ros\\xe9' have names that look the same"):
        scan_class_folders(tmp_path)


def test_a_class_in_another_case_is_named_with_both(tmp_path):
    touch(tmp_path, "train/Cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg")
    with pytest.raises(DataError, match=r"'cat' \(only in val; in train it is 'Cat'\)"):
        scan_class_folders(tmp_path)
    touch(tmp_path / "other", "Cat/1.jpg", "cat/1.jpg")
    assert scan_class_folders(tmp_path / "other").notes == (
        "'Cat', 'cat' are 2 classes, whose names differ in case alone",
    )
