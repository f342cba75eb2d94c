"""Rows 17 and 18 of the reliability notes, as far as the folder tells."""

from collections.abc import Callable
from pathlib import Path

import pytest

from eightgig.core.errors import DataError
from eightgig.data.ingest.folders import scan_class_folders


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_nested_mixed_case_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "rose/b.JPG", "rose/deep/er/a.Jpeg", "daisy/z.png", "daisy/a.webp", "rose/c.BMP", "rose/note.txt")
    found = scan_class_folders(tmp_path)
    assert found.classes == ("daisy", "rose")
    assert found.files == (
        ("daisy/a.webp", 0), ("daisy/z.png", 0), ("rose/b.JPG", 1), ("rose/c.BMP", 1), ("rose/deep/er/a.Jpeg", 1),
    )  # fmt: skip
    assert found.num_skipped == 1


def test_what_no_class_is_and_no_image_is_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "a/._1.jpg", "b/Thumbs.db", "a/.ipynb_checkpoints/1-checkpoint.jpg")
    touch(tmp_path, ".ipynb_checkpoints/x.jpg", "__MACOSX/a/1.jpg", "b/__MACOSX/1.jpg", ".DS_Store", "loose.jpg")
    found = scan_class_folders(tmp_path)
    assert [path for path, _ in found.files] == ["a/1.jpg", "b/1.jpg"]
    assert found.num_skipped == 2


def test_formats_that_are_not_read_are_still_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "b/2.TIFF", "b/3.heic")
    assert len(scan_class_folders(tmp_path).files) == 4


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a/1.jpg", "photos/b/1.jpg", "elsewhere/2.jpg")
    root = tmp_path / "photos"
    (root / "a" / "back").symlink_to(root / "a")
    (root / "a" / "up").symlink_to(root)
    (root / "b" / "more").symlink_to(tmp_path / "elsewhere")
    paths = [path for path, _ in scan_class_folders(root).files]
    assert "b/more/2.jpg" in paths
    assert len(paths) < 10


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no such folder. Set data.root"):
        scan_class_folders(tmp_path / "none")
    touch(tmp_path, "file")
    with pytest.raises(DataError, match="found a file"):
        scan_class_folders(tmp_path / "file")


def test_images_without_class_folders_show_the_layout(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    with pytest.raises(DataError, match=r"found 2 images directly in it(.|\n)*daisy/one.jpg"):
        scan_class_folders(tmp_path)
    touch(tmp_path, "only/1.jpg")
    with pytest.raises(DataError, match="at least two class folders, found only 'only'"):
        scan_class_folders(tmp_path)


def test_all_bad_classes_are_in_one_message(tmp_path: Path) -> None:
    touch(tmp_path, "full/1.jpg", "full/2.jpg", "full/3.jpg", "single/1.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"at least 3 .* 'empty' has none, 'single' has 1") as caught:
        scan_class_folders(tmp_path, min_images_per_class=3)
    assert "full" not in str(caught.value).replace(str(tmp_path), "")


def test_imagenets_folders_keep_their_splits(tmp_path: Path) -> None:
    touch(
        tmp_path, "train/n02/b.JPEG", "train/n01/a.JPEG", "train/n01/c.JPEG", "val/n01/v.JPEG", "Validation/n02/w.JPEG"
    )
    folders = scan_class_folders(tmp_path)
    assert folders.classes == ("n01", "n02")
    assert list(zip(folders.files, folders.splits, strict=True)) == [
        (("train/n01/a.JPEG", 0), "train"),
        (("train/n01/c.JPEG", 0), "train"),
        (("val/n01/v.JPEG", 0), "val"),
        (("Validation/n02/w.JPEG", 1), "val"),
        (("train/n02/b.JPEG", 1), "train"),
    ]


def test_a_class_that_is_not_trained_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "train/daisy/1.jpg", "train/rose/1.jpg", "val/daisy/1.jpg", "val/tulip/1.jpg")
    with pytest.raises(DataError, match=r"1 classes have no folder in train: 'tulip' \(only in val\)"):
        scan_class_folders(tmp_path)


def test_a_flat_validation_folder_says_what_to_do(tmp_path: Path) -> None:
    touch(tmp_path, "train/n01/a.JPEG", "train/n02/b.JPEG", "val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(
        DataError, match=r"found 1 images directly in it, such as ILSVRC2012_val_00000001\.JPEG"
    ) as caught:
        scan_class_folders(tmp_path)
    assert f"set data.root to {tmp_path / 'train'}" in str(caught.value)


def test_a_class_needs_a_image_in_train_and_none_elsewhere(tmp_path: Path) -> None:
    touch(tmp_path, "train/daisy/1.jpg", "train/rose/1.jpg", "val/daisy/2.jpg", "train/tulip/notes.txt")
    with pytest.raises(DataError, match=r"at least 1 different usable images in train, but 'tulip' has none"):
        scan_class_folders(tmp_path, min_images_per_class=3)
    touch(tmp_path, "train/tulip/1.jpg")
    folders = scan_class_folders(tmp_path, min_images_per_class=3)
    assert folders.splits == ("train", "val", "train", "train")
    assert folders.num_skipped == 1


def test_splits_without_training_images_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "val/a/1.jpg", "val/b/1.jpg", "test/a/1.jpg")
    with pytest.raises(DataError, match="none is for training"):
        scan_class_folders(tmp_path)


def test_classes_may_be_called_train_where_the_user_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "test/1.jpg")
    assert scan_class_folders(tmp_path, layout="classes").classes == ("test", "train")


def test_a_class_name_that_is_no_text(tmp_path: Path, make_folders: Callable[..., Path]) -> None:
    root = make_folders(daisy=1, rose=1)
    try:
        (root / "ro\udcffse").mkdir()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        scan_class_folders(root)
