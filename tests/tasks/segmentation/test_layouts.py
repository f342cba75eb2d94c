"""Where images and masks are found, what is wrong with them, and what is stored of them."""

import numpy as np
import pytest

from eightgig.core.errors import DataError, StoreError
from eightgig.data.ingest.splits import make_detection_splits
from eightgig.data.store.masks import VOID
from eightgig.data.store.reader import ImageStore
from eightgig.tasks.segmentation.layouts import find_layout, scan_mask_folder
from eightgig.tasks.segmentation.manifest import require_usable_masks
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters
from eightgig.tasks.segmentation.sources import open_mask_source
from eightgig.tasks.segmentation.store_content import masked_content

from .conftest import TABLE, mask, photo


def found(root, **options):
    folder = scan_mask_folder(root, **options)
    return [tuple(each) for each in folder.images], [(each.path, each.reason) for each in folder.findings]


def test_a_folder_of_images_and_one_of_masks(masked, write):
    root = masked("a", "in/b", "c")
    (root / "masks" / "c.png").rename(root / "masks" / "c_mask.png")
    write(root / "images" / "lonely.jpg", photo(9))
    write(root / "masks" / "widow.png", mask(9))
    assert found(root) == (
        [
            ("images/a.jpg", "masks/a.png", ""),
            ("images/c.jpg", "masks/c_mask.png", ""),
            ("images/in/b.jpg", "masks/in/b.png", ""),
        ],
        [("images/lonely.jpg", "missing_mask"), ("masks/widow.png", "mask_without_image")],
    )


@pytest.mark.parametrize(("image", "mask_name"), [
    ("images/train/a.png", "masks/train/a.png"),
    ("train/images/a.png", "train/masks/a.png"),
    ("train/a.png", "trainannot/a.png"),
    ("Train/a.png", "Train_labels/a_L.png"),
])  # fmt: skip
def test_splits_in_the_ways_that_people_make_them(tmp_path, write, image, mask_name):
    for old, new in (("rain", "rain"), ("rain", "est") if "Train" in image else ("train", "val")):
        write(tmp_path / image.replace(old, new), photo(1))
        write(tmp_path / mask_name.replace(old, new), mask(1))
    (tmp_path / "classes.csv").write_text(TABLE)
    images, findings = found(tmp_path)
    assert [split for *_, split in images] == (["test", "train"] if "Train" in image else ["train", "val"])
    assert findings == []


def city(root, write, name, kind, pixels, split="train"):
    write(root / f"leftImg8bit/{split}/bonn/{name}_leftImg8bit.png", photo(len(name)))
    if kind:
        write(root / f"gtFine/{split}/bonn/{name}_gtFine_{kind}.png", pixels)


@pytest.mark.parametrize(("kind", "road"), [("labelTrainIds", 0), ("labelIds", 7)])
def test_cityscapes_in_both_kinds_of_labels(tmp_path, write, ingest, kind, road):
    pixels = np.full((30, 40), road, np.uint8)
    pixels[:5] = 255 if kind == "labelTrainIds" else 1
    city(tmp_path, write, "bonn_1", kind, pixels)
    city(tmp_path, write, "bonn_22", kind, pixels, split="val")
    city(tmp_path, write, "bonn_333", None, pixels)
    city(tmp_path, write, "bonn_4444", kind, pixels * 0 + 255, split="test")
    assert find_layout(tmp_path) == "cityscapes"
    manifest, pixels_of, rejects, folder = ingest(tmp_path)
    assert len(folder.table.classes) == 19
    assert manifest["split"].tolist() == ["train", "val"]
    assert pixels_of[["class_name", "num_pixels"]].to_numpy().tolist() == [["road", 1000]] * 2
    assert rejects[["reason", "action"]].to_numpy().tolist() == [["missing_mask", "refused"]]


def test_cityscapes_with_half_of_its_trainids_is_refused(tmp_path, write):
    city(tmp_path, write, "a", "labelTrainIds", mask(1))
    city(tmp_path, write, "b", "labelIds", mask(1))
    with pytest.raises(DataError, match="Make the missing labelTrainIds"):
        scan_mask_folder(tmp_path)


def test_folders_that_are_none_show_the_layouts(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        scan_mask_folder(tmp_path / "none")
    with pytest.raises(DataError, match=r"no folder of images with one of masks beside it(.|\n)*trainannot"):
        scan_mask_folder(tmp_path)
    (tmp_path / "leftImg8bit").mkdir()
    with pytest.raises(DataError, match="but no gtFine"):
        scan_mask_folder(tmp_path)
    for name in ("images", "masks"):
        (tmp_path / "other" / name).mkdir(parents=True)
    with pytest.raises(DataError, match="not one image with a mask"):
        scan_mask_folder(tmp_path / "other")


def test_whatever_is_wrong_with_a_mask_is_listed(masked, write, ingest):
    root = masked("good", "small", "odd", "void", "broken", "again", "copy")
    write(root / "masks" / "small.png", mask(1, 20, 40))
    write(root / "masks" / "odd.png", mask(2) + 40)
    write(root / "masks" / "void.png", np.full((30, 40), 9, np.uint8))
    (root / "images" / "broken.jpg").write_bytes(b"broken")
    (root / "images" / "copy.jpg").write_bytes((root / "images" / "again.jpg").read_bytes())
    manifest, _, rejects, _ = ingest(root)
    assert manifest["path"].tolist() == ["images/good.jpg"]
    assert rejects[["path", "reason"]].to_numpy().tolist() == [
        ["images/again.jpg", "conflicting_mask"],
        ["images/broken.jpg", "not_an_image"],
        ["images/copy.jpg", "conflicting_mask"],
        ["images/odd.jpg", "unknown_label"],
        ["images/small.jpg", "size_differs"],
        ["images/void.jpg", "all_void"],
    ]


def test_copies_in_two_splits_stay_where_they_judge(tmp_path, write, ingest):
    for split, seeds in {"train": [1, 2], "val": [2, 3]}.items():
        for seed in seeds:
            write(tmp_path / "images" / split / f"{seed}.png", photo(seed))
            write(tmp_path / "masks" / split / f"{seed}.png", mask(seed))
    (tmp_path / "classes.csv").write_text(TABLE)
    manifest, _, rejects, _ = ingest(tmp_path)
    assert manifest["path"].tolist() == ["images/train/1.png", "images/val/2.png", "images/val/3.png"]
    assert rejects[["path", "reason"]].to_numpy().tolist() == [["images/train/2.png", "in_two_splits"]]


def test_too_little_is_refused(masked, ingest):
    root = masked("a", "b")
    manifest, pixels, rejects, _ = ingest(root)
    parameters = SegmentationDataParameters(root=str(root))
    with pytest.raises(DataError, match=r"wanted at least 3 different images .* found 2 images"):
        require_usable_masks(root, manifest, pixels, rejects, parameters)


def test_from_a_folder_to_a_store(masked, ingest, tmp_path):
    root = masked(*"abcdefgh")
    manifest, pixels, rejects, folder = ingest(root)
    parameters = SegmentationDataParameters(root=str(root))
    require_usable_masks(root, manifest, pixels, rejects, parameters)
    splits = make_detection_splits(manifest, pixels, val_fraction=0.2, test_fraction=0.2, seed=0)
    assert set(splits["split"]) == {"train", "val", "test"}
    masked_content(manifest, folder, parameters).write(tmp_path / "s.h5")
    store = ImageStore(tmp_path / "s.h5")
    for index in range(8):
        wanted = np.where(mask(index) == 9, VOID, mask(index))
        assert np.array_equal(store.mask(index), wanted)
        own = pixels[pixels["index"] == index].set_index("label")["num_pixels"]
        assert own.to_dict() == {label: int((wanted == label).sum()) for label in np.unique(wanted[wanted != VOID])}
    (root / "masks" / "a.png").unlink()
    with pytest.raises(StoreError, match=r"a\.png: changed since it was inspected"):
        masked_content(manifest, folder, parameters).write(tmp_path / "s.h5")


def test_real_street_scenes(ingest, project_path):
    root = project_path.parent / "shared" / "data" / "camvid"
    if not root.is_dir():
        pytest.skip("no real street scenes beside the project (../shared/data/camvid)")
    manifest, pixels, rejects, _ = ingest(root, class_table="camvid")
    assert len(manifest) == 120
    assert rejects.empty
    assert len(pixels["class_name"].unique()) == 11
    with pytest.raises(DataError, match="nothing says what the labels in the masks mean"):
        ingest(root)


def test_drawn_streets_come_back(tmp_path, ingest):
    raw = open_mask_source(SegmentationDataParameters(num_images=4)).materialise(tmp_path)
    assert (raw.source, raw.origin) == ("folders", "4 street scenes drawn by code, seed 0")
    manifest, pixels, rejects, folder = ingest(tmp_path / "rendered")
    assert (len(manifest), len(rejects), len(folder.table.classes)) == (4, 0, 19)
    assert pixels["num_pixels"].sum() <= 4 * 256 * 192


def test_a_root_means_a_folder_whose_layout_is_found_out(tmp_path):
    assert SegmentationDataParameters(root="x").source == "auto"
    assert SegmentationDataParameters(root="x", source="cityscapes").source == "cityscapes"
    with pytest.raises(ValueError, match="source 'folders' needs a root"):
        SegmentationDataParameters(source="folders")
    raw = open_mask_source(SegmentationDataParameters(root=str(tmp_path), source="cityscapes")).materialise(
        tmp_path / "o"
    )
    assert raw.source == "cityscapes"
    assert not (tmp_path / "o").exists()
