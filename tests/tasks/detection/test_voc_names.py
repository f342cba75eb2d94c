"""VOC: names in any case and form, lists as tools write them, and files that name another image."""

import unicodedata

import pytest

from eightgig.core.errors import DataError
from eightgig.tasks.detection.layouts import scan_detection_folder

CUP = [("cup", 1, 1, 20, 20)]


def edit(root, name, old, new):
    file = root / "annotations" / f"{name}.xml"
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_class_names_are_composed_and_told_where_case_alone_differs(voc):
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    root = voc({"a": [(composed, 1, 1, 20, 20)], "b": [(decomposed, 1, 1, 20, 20)], "c": [("Caf\u00e9", 1, 1, 9, 9)]})
    folder = scan_detection_folder(root)
    assert folder.classes == ("Caf\u00e9", "caf\u00e9")
    assert [[box.label for box in image.boxes] for image in folder.images] == [[1], [1], [0]]
    assert [(each.reason, each.detail) for each in folder.findings] == [
        ("similar_classes", "'Caf\u00e9', 'caf\u00e9' are 2 classes, whose names differ in case alone")
    ]


@pytest.mark.parametrize("name", ["", "   ", None])
def test_an_object_without_a_name_is_no_class(voc, ingest, name):
    root = voc({"a": CUP, "b": CUP})
    edit(root, "b", "<name>cup</name>", "" if name is None else f"<name>{name}</name>")
    manifest, _, rejects, folder = ingest(root)
    assert folder.classes == ("cup",)
    assert manifest["path"].tolist() == ["images/a.jpg"]
    assert rejects["detail"].tolist() == ["an object without a name"]


@pytest.mark.parametrize("entry", ["{}", "{}.jpg", "images/{}", "./images/{}.jpg", "images\\{}.jpg", "{} 1", "{} -1"])
@pytest.mark.parametrize("folder", ["ImageSets/Main", "imagesets/main"])
def test_lists_of_splits_name_images_as_tools_write_them(voc, entry, folder):
    names = ["B\u00fccher 1", "plain"]
    root = voc(dict.fromkeys(names, CUP))
    (root / folder).mkdir(parents=True)
    for split, name in zip(("Train", "validation"), names, strict=True):
        listed = unicodedata.normalize("NFD", entry.format(name))
        (root / folder / f"{split}.txt").write_text(listed + "\n", encoding="utf-8")
    found = scan_detection_folder(root)
    assert [image.split for image in found.images] == ["train", "val"]
    assert found.findings == ()


def test_a_name_in_a_list_without_a_image_is_told(voc):
    root = voc({"a": CUP, "b": CUP})
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\ngone\n")
    assert [(each.path, each.reason, each.line) for each in scan_detection_folder(root).findings] == [
        ("gone", "missing_image", 3)
    ]


def test_a_copied_file_keeps_anothers_filename(voc):
    root = voc({"a": CUP, "b": [("pen", 1, 1, 20, 20)]})
    edit(root, "a", "a.jpg", "b.jpg")
    folder = scan_detection_folder(root)
    assert folder.classes == ("cup", "pen")
    assert [(image.path, [box.label for box in image.boxes]) for image in folder.images] == [
        ("images/a.jpg", [0]), ("images/b.jpg", [1]),
    ]  # fmt: skip
    assert [each.reason for each in folder.images[0].findings] == ["other_filename"]


def test_a_file_that_could_be_about_two_images_is_refused(voc):
    root = voc({"a": CUP, "b": CUP})
    (root / "annotations" / "b.xml").unlink()
    edit(root, "a", "a.jpg", "b.jpg")
    (first, *_) = scan_detection_folder(root).findings
    assert (first.reason, first.detail) == (
        "ambiguous_image", "its <filename> means 'images/b.jpg', its own name 'images/a.jpg'",
    )  # fmt: skip


@pytest.mark.parametrize(("size", "reasons"), [("80.0", []), ("800", ["size_differs"]), ("0", []), ("", [])])
def test_a_size_is_compared_where_there_is_one(voc, ingest, size, reasons):
    root = voc({"a": CUP})
    edit(root, "a", "<width>80</width>", f"<width>{size}</width>")
    _, boxes, rejects, _ = ingest(root)
    assert rejects["reason"].tolist() == reasons
    assert len(boxes) == (0 if reasons else 1)


def test_boxes_that_begin_at_0_are_told(voc, ingest):
    _, boxes, rejects, _ = ingest(voc({"a": [("cup", 0, 1, 20, 20)], "b": CUP}))
    assert boxes[["x1", "y1", "x2", "y2"]].to_numpy().tolist() == [[0, 0, 20, 20]] * 2
    assert rejects[["reason", "action", "file"]].to_numpy().tolist() == [
        ["counted_from_0", "kept", "annotations/a.xml"]
    ]


def test_xml_of_another_tool_is_named(voc):
    root = voc({"a": CUP})
    edit(root, "a", "annotation>", "annotations>")
    with pytest.raises(DataError, match=r"no labels with boxes \(annotations/a\.xml is neither COCO's JSON"):
        scan_detection_folder(root)
