import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from eightgig.core.errors import DataError
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.ingest.manifest import MANIFEST_COLUMNS, REJECT_COLUMNS, build_manifest

MakeFolders = Callable[..., Path]


def test_bad_files_become_rejects_with_reasons(make_folders: MakeFolders, manifest_of: Callable[..., tuple]) -> None:
    """Row 10: the run goes on while few are bad."""
    root = make_folders(daisy=5, rose=5)
    (root / "daisy" / "empty.jpg").write_bytes(b"")
    (root / "daisy" / "page.jpg").write_bytes(b"<html>not found</html>")
    (root / "rose" / "cut.jpg").write_bytes((root / "rose" / "0.jpg").read_bytes()[:-50])
    manifest, rejects = manifest_of(root, max_reject_fraction=0.5)
    assert tuple(manifest.columns) == MANIFEST_COLUMNS
    assert tuple(rejects.columns) == REJECT_COLUMNS
    assert len(manifest) == 10
    assert manifest["label"].tolist() == [0] * 5 + [1] * 5
    assert dict(zip(rejects["path"], rejects["reason"], strict=True)) == {
        "daisy/empty.jpg": "empty", "daisy/page.jpg": "not_an_image", "rose/cut.jpg": "truncated",
    }  # fmt: skip


def test_too_many_rejects_stop_the_run(make_folders: MakeFolders, manifest_of: Callable[..., tuple]) -> None:
    root = make_folders(daisy=5, rose=5)
    (root / "daisy" / "empty.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 11 files cannot be used \(1 empty\); at most 5% .*daisy/empty.jpg"):
        manifest_of(root)


def test_no_rejects_and_progress(make_folders: MakeFolders) -> None:
    root = make_folders(daisy=3, rose=3)
    told: list[tuple[int, int]] = []
    manifest, rejects = build_manifest(
        scan_class_folders(root), DataParameters(root=str(root)), lambda *done: told.append(done)
    )
    assert (len(manifest), len(rejects)) == (6, 0)
    assert told == [(number, 6) for number in range(1, 7)]


def test_one_image_in_two_classes_is_refused_in_both(
    make_folders: MakeFolders, manifest_of: Callable[..., tuple]
) -> None:
    root = make_folders(daisy=5, rose=5)
    shutil.copy(root / "daisy" / "0.jpg", root / "rose" / "copy.jpg")
    manifest, rejects = manifest_of(root, max_reject_fraction=0.5)
    assert rejects["path"].tolist() == ["daisy/0.jpg", "rose/copy.jpg"]
    assert set(rejects["reason"]) == {"conflicting_label"}
    assert rejects["detail"][0] == "the same image lies in the classes daisy, rose"
    assert len(manifest) == 9


def test_copies_in_one_class_stay_but_do_not_count_twice(
    make_folders: MakeFolders, manifest_of: Callable[..., tuple]
) -> None:
    root = make_folders(daisy=3, rose=2)
    shutil.copy(root / "daisy" / "0.jpg", root / "daisy" / "copy.jpg")
    shutil.copy(root / "rose" / "0.jpg", root / "rose" / "copy.jpg")
    with pytest.raises(DataError, match="at least 3 different usable images, but 'rose' has 2"):
        manifest_of(root)


def test_classes_left_small_are_all_named(make_folders: MakeFolders, manifest_of: Callable[..., tuple]) -> None:
    root = make_folders(daisy=4, rose=2, tulip=1)
    (root / "tulip" / "0.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="'rose' has 2, 'tulip' has none"):
        manifest_of(root, max_reject_fraction=1.0)


def test_a_file_name_that_is_no_text_is_a_reject(make_folders: MakeFolders, manifest_of: Callable[..., tuple]) -> None:
    root = make_folders(daisy=4, rose=4)
    try:
        shutil.copy(root / "daisy" / "0.jpg", root / "daisy" / "bad\udcff.jpg")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    _, rejects = manifest_of(root, max_reject_fraction=0.5)
    assert rejects["path"].tolist() == ["daisy/bad\\udcff.jpg"]
    assert rejects["reason"].tolist() == ["unreadable"]


def test_real_photos(real_flowers: Path) -> None:
    manifest, rejects = build_manifest(scan_class_folders(real_flowers), DataParameters(root=str(real_flowers)))
    assert len(manifest) + len(rejects) == 1000
    assert len(rejects) <= 50
