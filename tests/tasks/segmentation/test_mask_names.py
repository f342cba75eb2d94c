"""Masks meet their images in any case and form of Unicode; folders that look like a part of the set are told."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.core.errors import DataError
from eightgig.data.ingest.class_table import read_table
from eightgig.tasks.segmentation.layouts import find_layout, scan_mask_folder

from .conftest import TABLE


def write(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    (root / "classes.csv").write_text(TABLE)


def scanned(root):
    folder = scan_mask_folder(root)
    return [tuple(each) for each in folder.images], [(each.path, each.reason, each.action) for each in folder.findings]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["images", "Images", "JPEGImages"]),
    st.sampled_from(["masks", "Masks", "SegmentationClass"]),
    st.tuples(st.sampled_from(["NFC", "NFD"]), st.sampled_from(["NFC", "NFD"])),
    st.sampled_from([str, str.upper, str.lower]),
    st.sampled_from(["{}.png", "{}.PNG", "{}_mask.png", "{}_Label.png", "{}.jpg.png"]),
)
def test_a_mask_is_found_in_any_dress(tmp_path_factory, images, masks, forms, case, way):
    root = tmp_path_factory.mktemp("set")
    name = "Stra\u00dfe \u00e9 1.5"
    image = f"{images}/{unicodedata.normalize(forms[0], name)}.jpg"
    mask = f"{masks}/{unicodedata.normalize(forms[1], way.format(case(name)))}"
    write(root, image, mask)
    assert scanned(root) == ([(image, mask, "")], [])


@pytest.mark.parametrize(
    ("folder", "split"), [("Validation", "val"), ("dev", "val"), ("EVAL", "val"), ("testing", "test")]
)
@pytest.mark.parametrize(
    "way",
    [
        "{}/images/1.jpg {}/masks/1.png",
        "images/{}/1.jpg masks/{}/1.png",
        "{}/1.jpg {}_labels/1.png",
        "{}/1.jpg {}annot/1.png",
        "{}_images/1.jpg {}_masks/1.png",
    ],
)
def test_splits_have_any_of_their_names(tmp_path, way, folder, split):
    for name in ("train", folder):
        write(tmp_path, *way.format(name, name).split())
    images, findings = scanned(tmp_path)
    assert sorted(each[2] for each in images) == sorted(["train", split])
    assert findings == []


@pytest.mark.parametrize(
    ("more", "finding"),
    [
        (["extra/images/1.jpg", "extra/masks/1.png"], ("extra", "not_used", "kept")),
        (["test/1.jpg"], ("test", "not_used", "kept")),
        (["train/labels/1.png"], ("train/labels", "not_used", "kept")),
        (["docs/1.pdf", "__MACOSX/train/images/1.jpg", "train/annotations/1.json"], None),
    ],
)
def test_what_looks_like_a_part_of_the_set_is_told(tmp_path, more, finding):
    write(tmp_path, "train/images/1.jpg", "train/masks/1.png", "val/images/2.jpg", "val/masks/2.png", *more)
    images, findings = scanned(tmp_path)
    assert [split for *_, split in images] == ["train", "val"]
    assert findings == ([finding] if finding else [])


def test_images_beside_the_splits_in_a_folder_are_told(tmp_path):
    for split in ("train", "val", "extra"):
        write(tmp_path, f"images/{split}/{split}.jpg", f"masks/{split}/{split}.png")
    images, findings = scanned(tmp_path)
    assert [split for *_, split in images] == ["", "train", "val"]
    assert findings == [("images/extra/extra.jpg", "no_split", "kept")]


def test_one_mask_of_two_images_and_two_masks_of_one_are_told(tmp_path):
    write(
        tmp_path,
        "images/a.jpg",
        "images/a.png",
        "masks/a.png",
        "images/b.jpg",
        "masks/b.png",
        "masks/B.png",
        "masks/b.jpg",
    )
    images, findings = scanned(tmp_path)
    assert [path for path, *_ in images] == ["images/a.jpg", "images/a.png"]
    assert findings == [
        ("images/a.jpg", "shared_mask", "kept"),
        ("images/a.png", "shared_mask", "kept"),
        ("images/b.jpg", "ambiguous_mask", "refused"),
        ("masks/B.png", "mask_without_image", "refused"),
    ]


def test_the_mask_that_is_written_so_comes_first(tmp_path):
    write(tmp_path, "images/a.jpg", "images/A.jpg", "masks/a.png", "masks/A.png")
    assert scanned(tmp_path)[0] == [("images/A.jpg", "masks/A.png", ""), ("images/a.jpg", "masks/a.png", "")]
    (tmp_path / "masks" / "A.png").unlink()
    assert scanned(tmp_path) == (
        [("images/a.jpg", "masks/a.png", "")], [("images/A.jpg", "missing_mask", "refused")],
    )  # fmt: skip


def test_cityscapes_folders_in_another_case(tmp_path):
    write(tmp_path, "LeftImg8bit/val/bonn/a_leftImg8bit.png", "gtfine/val/bonn/a_gtFine_labelTrainIds.png")
    assert find_layout(tmp_path) == "cityscapes"
    assert scanned(tmp_path)[0] == [
        ("LeftImg8bit/val/bonn/a_leftImg8bit.png", "gtfine/val/bonn/a_gtFine_labelTrainIds.png", "val")
    ]
    (tmp_path / "gtfine").rename(tmp_path / "other")
    with pytest.raises(DataError, match="leftImg8bit is there, but no gtFine"):
        scan_mask_folder(tmp_path)
    with pytest.raises(DataError, match="wanted Cityscapes' leftImg8bit, found none"):
        scan_mask_folder(tmp_path / "other", "cityscapes")


def test_names_of_a_table_are_composed_and_none_is_missing(tmp_path):
    table = tmp_path / "Classes.CSV"
    table.write_text("name,label\ncafe\u0301,0\nroad,1\n", encoding="utf-8")
    assert read_table(table).classes == ("caf\u00e9", "road")
    table.write_text("name,label\ncafe\u0301,0\ncaf\u00e9,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="the class caf\u00e9 is there twice"):
        read_table(table)
    table.write_text("name,label\n,0\nroad,1\nsky,2\n")
    with pytest.raises(DataError, match="a row has no name, and so is no class"):
        read_table(table)


def test_a_table_is_found_in_any_case(tmp_path):
    write(tmp_path, "images/a.jpg", "masks/a.png")
    (tmp_path / "classes.csv").rename(tmp_path / "Classes.CSV")
    assert scan_mask_folder(tmp_path).table.classes == ("road", "sky", "car")
