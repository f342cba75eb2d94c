"""Where images, labels and splits are found, in the ways that tools and people lay them out."""

import json

import pytest

from eightgig.core.errors import DataError
from eightgig.tasks.detection.layouts import find_format, scan_detection_folder

LINE = "0 0.5 0.5 0.25 0.5\n"


def splits(folder):
    return {image.path.rpartition("/")[2]: image.split for image in folder.images}


def test_paths_one_folder_too_high_and_missing_splits(yolo):
    root = yolo({"train/a": LINE, "val/b": LINE})
    text = "train: ../images/train\nvalid: ../images/val\ntest: ../images/test\nnc: 2\nnames: {0: no, 1: yes}\n"
    (root / "data.yaml").write_text(text)
    folder = scan_detection_folder(root)
    assert splits(folder) == {"a.jpg": "train", "b.jpg": "val"}
    assert folder.classes == ("no", "yes")
    assert [(each.reason, each.action, each.file) for each in folder.findings] == [
        ("missing_split", "kept", "data.yaml")
    ]


def test_lists_of_images_from_another_machine(yolo):
    root = yolo({"a": LINE, "b": LINE, "c": LINE})
    (root / "train.txt").write_text("\ufeff./images/a.jpg\r\n\r\n/content/other/images/b.jpg\r\ngone.jpg\r\n")
    (root / "data.yaml").write_text("path: /nowhere\ntrain: train.txt\nval: [images]\nnames: [cup, pen]\n")
    folder = scan_detection_folder(root)
    assert splits(folder) == {"a.jpg": "train", "b.jpg": "train", "c.jpg": "val"}
    assert [each[:2] + each[3:6] for each in folder.findings] == [
        ("gone.jpg", "missing_image", "refused", "train.txt", 4)
    ]
    assert [each.reason for image in folder.images for each in image.findings] == ["in_two_splits"] * 2


def test_a_folder_without_data_yaml_needs_the_names_of_classes(yolo):
    root = yolo({"train/a": LINE, "val/b": LINE})
    (root / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"nothing names their classes\. Write a data\.yaml .* or a classes\.txt"):
        scan_detection_folder(root)
    (root / "labels" / "classes.txt").write_text("cup\npen\n")
    folder = scan_detection_folder(root)
    assert (folder.source, folder.classes) == ("yolo", ("cup", "pen"))
    assert splits(folder) == {"a.jpg": "train", "b.jpg": "val"}
    assert folder.findings == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: images\n", "wanted 'names' as a list"),
        ("train: images\nnames: {0: cup, 2: pen}\n", "numbers from 0 with a name each"),
        ("train: images\nnames: [cup, cup]\n", "two classes are called 'cup'"),
        ("train: images\nnames: []\n", "wanted the names of the classes, found none"),
        ("train: images\nnc: 3\nnames: [cup, pen]\n", "'nc' says 3 classes, 'names' has 2"),
        ("train: elsewhere\nnames: [cup, pen]\n", "'train' names 'elsewhere', which is not below the root"),
        ("train: {a: b}\nnames: [cup, pen]\n", "as paths or lists of paths"),
        ("train: [images\n", "cannot be read as such"),
    ],
)
def test_a_data_yaml_that_cannot_be_used_says_why(yolo, text, message):
    root = yolo({"a": LINE})
    (root / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        scan_detection_folder(root, "yolo")


def test_lists_of_voc_splits(voc):
    root = voc({name: [("cup", 1, 1, 20, 20)] for name in "abcd"})
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, text in (("train", "a\nb\n"), ("val", "b\nc\n"), ("trainval", "a\nb\nc\n"), ("cup_train", "d -1\n")):
        (lists / f"{name}.txt").write_text(text)
    folder = scan_detection_folder(root)
    assert splits(folder) == {"a.jpg": "train", "b.jpg": "train", "c.jpg": "val", "d.jpg": ""}
    assert [(each.path, each.reason, each.file, each.line) for each in folder.findings] == [
        ("images/b.jpg", "in_two_splits", "ImageSets/Main/val.txt", 1),
        ("images/d.jpg", "no_split", "", None),
    ]


def test_a_voc_file_that_names_no_image_that_is_there(voc):
    root = voc({"a": [("cup", 1, 1, 20, 20)], "b": [], "c": []})
    label = root / "annotations" / "a.xml"
    label.write_text(label.read_text().replace("a.jpg", "a.png"))
    (root / "SegmentationClass").mkdir()
    (root / "images" / "b.jpg").rename(root / "SegmentationClass" / "a.png")
    (root / "annotations" / "c.xml").unlink()
    folder = scan_detection_folder(root)
    assert splits(folder) == {"a.jpg": ""}
    assert [(each.path, each.reason, each.action, each.file) for each in folder.findings] == [
        ("b.jpg", "label_without_image", "refused", "annotations/b.xml"),
        ("images/c.jpg", "no_label", "refused", ""),
    ]


def test_a_coco_file_a_split(coco):
    root = coco(2, [{"image_id": 100, "category_id": 1, "bbox": [1, 2, 3, 4]}], categories={1: "cup"})
    content = json.loads((root / "instances_all.json").read_text())
    (root / "instances_all.json").rename(root / "instances_train2017.json")
    content["images"] = content["images"][1:]
    content["annotations"][0]["image_id"] = 77
    (root / "instances_val2017.json").write_text(json.dumps(content))
    folder = scan_detection_folder(root)
    assert splits(folder) == {"0.jpg": "train", "1.jpg": "train"}
    assert [(each.reason, each.file, each.line) for each in folder.findings] == [
        ("label_without_image", "instances_val2017.json", 1000)
    ]
    content["categories"][0]["name"] = "mug"
    (root / "instances_val2017.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"train2017\.json and instances_val2017\.json have different categories"):
        scan_detection_folder(root)
    assert scan_detection_folder(root, annotations="instances_val2017.json").classes == ("mug",)


def test_two_coco_images_with_one_id_are_both_refused(coco):
    root = coco(3, [], categories={1: "cup"})
    file = root / "instances_all.json"
    content = json.loads(file.read_text())
    content["images"][1]["id"] = content["images"][0]["id"]
    file.write_text(json.dumps(content))
    folder = scan_detection_folder(root)
    assert splits(folder) == {"2.jpg": ""}
    refused = {each.path for each in folder.findings if each.reason == "ambiguous_image"}
    assert refused == {"0.jpg", "1.jpg"}


def test_two_formats_must_be_told_apart(yolo, voc):
    root = yolo({"a": LINE})
    voc({"b": [("cup", 1, 1, 20, 20)]}).rename(root / "more")
    with pytest.raises(DataError, match=r"labels in 2 formats: yolo, voc\. Set data\.source to one"):
        find_format(root)
    assert scan_detection_folder(root, "voc").classes == ("cup",)
    with pytest.raises(DataError, match=r"there are no labels\. Set data\.annotations"):
        find_format(root, "none.json")
    with pytest.raises(DataError, match="found nothing there"):
        find_format(root / "none")


def test_links_that_lead_in_circles_are_followed_once(yolo):
    root = yolo({"a": LINE})
    for name, other in (("p", "q"), ("q", "p")):
        (root / name).mkdir()
        (root / name / other).symlink_to(root / other)
    (root / "again").symlink_to(root)
    assert len(scan_detection_folder(root).images) == 1
