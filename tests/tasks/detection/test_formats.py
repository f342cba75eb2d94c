"""Each format gives the boxes that it says; whatever is wrong is listed with its file and line."""

import pytest

from eightgig.core.errors import DataError
from eightgig.tasks.detection.layouts import find_format
from eightgig.tasks.detection.manifest import require_usable_detection
from eightgig.tasks.detection.parameters import DetectionDataParameters

GOOD = "0 0.5 0.5 0.25 0.5\n"  # 30..50 x 15..45 of 80 x 60


def corners(boxes):
    return boxes[["class_name", "x1", "y1", "x2", "y2"]].round(3).to_numpy().tolist()


def listed(rejects):
    return [
        (row.path.rpartition("/")[2], row.reason, row.action, None if row.line != row.line else row.line)
        for row in rejects.astype({"line": object}).itertuples()
    ]


def test_yolo_boxes_are_shares_and_their_splits_are_kept(yolo, ingest):
    root = yolo({"train/a": GOOD, "val/b": "1 0.25 0.25 0.5 0.5\n" + GOOD})
    assert find_format(root) == "yolo"
    manifest, boxes, rejects, folder = ingest(root)
    assert folder.classes == ("cup", "pen")
    assert corners(boxes) == [["cup", 30, 15, 50, 45], ["pen", 0, 0, 40, 30], ["cup", 30, 15, 50, 45]]
    assert manifest["split"].tolist() == ["train", "val"]
    assert manifest["num_boxes"].tolist() == [1, 2]
    assert rejects.empty


def test_a_polygon_becomes_its_box(yolo, ingest):
    root = yolo({"a": "1 0.25 0.5 0.5 0.25 0.75 0.5 0.5 0.75\n"})
    _, boxes, _, _ = ingest(root, label_lines="polygons")
    assert corners(boxes) == [["pen", 20, 15, 60, 45]]


def test_voc_counts_from_one_and_includes_the_last_pixel(voc, ingest):
    root = voc({"a": [("pen", 1, 1, 80, 60), ("cup", 11, 21, 20, 40)]})
    assert find_format(root) == "voc"
    _, boxes, rejects, folder = ingest(root)
    assert folder.classes == ("cup", "pen")
    assert corners(boxes) == [["pen", 0, 0, 80, 60], ["cup", 10, 20, 20, 40]]
    assert rejects.empty


def test_coco_ids_become_labels_in_their_order_and_crowds_are_left_out(coco, ingest):
    annotations = [
        {"image_id": 100, "category_id": 7, "bbox": [10, 20, 30, 20]},
        {"image_id": 101, "category_id": 3, "bbox": [0, 0, 80, 60]},
        {"image_id": 101, "category_id": 3, "bbox": [0, 0, 10, 10], "iscrowd": 1},
    ]
    root = coco(2, annotations, categories={7: "pen", 3: "cup"})
    assert find_format(root) == "coco"
    _, boxes, rejects, folder = ingest(root)
    assert folder.classes == ("cup", "pen")
    assert corners(boxes) == [["pen", 10, 20, 40, 40], ["cup", 0, 0, 80, 60]]
    assert [(row.action, row.line) for row in rejects.itertuples()] == [("box left out", 1002)]


@pytest.mark.parametrize(
    ("line", "reason", "action"),
    [
        ("0 0.5 0.5 0.25", "malformed_label", "refused"),
        ("0 0.5 0.5 0.25 x", "malformed_label", "refused"),
        ("7 0.5 0.5 0.2 0.2", "unknown_class", "refused"),
        ("0 nan 0.5 0.2 0.2", None, "refused"),
        ("0 0.95 0.5 0.2 0.2", "outside", "box clipped"),
        ("0 1.2 0.5 0.2 0.2", "outside", "box left out"),
        ("0 0.5 0.5 0.001 0.2", "too_small_box", "box left out"),
        (GOOD.strip(), "duplicate_box", "box left out"),
    ],
)
def test_a_faulty_line_is_listed_with_file_and_line(yolo, ingest, line, reason, action):
    root = yolo({"a": GOOD + line + "\n", "b": GOOD})
    manifest, boxes, rejects, _ = ingest(root)
    (row,) = rejects.itertuples()
    assert (row.file, row.line, row.action) == ("labels/a.txt", 2, action)
    assert reason is None or row.reason == reason
    assert row.detail
    assert ("images/a.jpg" in set(manifest["path"])) == (action != "refused")  # a part of the truth is none
    if reason == "outside" and action == "box clipped":
        assert corners(boxes)[1] == ["cup", 68, 24, 80, 36]


def test_images_without_objects_are_kept_and_listed(yolo, ingest):
    root = yolo({"a": GOOD, "empty": "", "bare": None})
    (root / "labels" / "lost.txt").write_text(GOOD)
    manifest, _, rejects, _ = ingest(root)
    assert manifest["num_boxes"].tolist() == [1, 0, 0]
    files = {(row.path or row.file): row.action for row in rejects.itertuples()}
    assert set(files) == {"images/empty.jpg", "images/bare.jpg", "labels/lost.txt"}
    assert files["images/empty.jpg"] == files["images/bare.jpg"] == "kept"
    assert files["labels/lost.txt"] == "refused"


def test_unreadable_images_and_wrong_sizes_are_refused(voc, ingest):
    root = voc({"a": [("cup", 1, 1, 20, 20)], "b": [("cup", 1, 1, 20, 20)]}, size=(800, 600))
    (root / "images" / "b.jpg").write_bytes(b"<html>")
    manifest, _, rejects, _ = ingest(root)
    assert manifest.empty
    reasons = {row.path: row.reason for row in rejects.itertuples()}
    assert reasons["images/a.jpg"] == "size_differs"
    assert reasons["images/b.jpg"] == "not_an_image"


def test_a_declared_entity_is_refused_before_it_grows(voc, ingest):
    root = voc({"a": [("cup", 1, 1, 20, 20)], "b": [("cup", 1, 1, 20, 20)]})
    bomb = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx">]><annotation><filename>&x;</filename></annotation>'
    (root / "annotations" / "b.xml").write_text(bomb)
    manifest, _, rejects, _ = ingest(root)
    assert manifest["path"].tolist() == ["images/a.jpg"]
    assert "annotations/b.xml" in set(rejects["file"])


def test_too_many_faults_and_no_boxes_stop_the_run(yolo, ingest, tmp_path):
    manifest, boxes, rejects, _ = ingest(yolo({"a": GOOD, "b": "x\n"}))
    data = DetectionDataParameters(root=str(tmp_path))
    with pytest.raises(DataError, match="1 of 2 files cannot be used"):
        require_usable_detection(tmp_path, manifest, boxes, rejects, data)
    manifest, boxes, rejects, folder = ingest(yolo({"a": "", "b": ""}, root=tmp_path / "other"))
    with pytest.raises(DataError, match="there is not one box of the classes cup, pen"):
        require_usable_detection(tmp_path, manifest, boxes, rejects, data, folder.classes)


def test_a_folder_without_labels_says_what_is_wanted(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"no labels with boxes"):
        find_format(tmp_path)
    with pytest.raises(DataError, match="wanted a folder of images and labels"):
        find_format(tmp_path / "missing")
