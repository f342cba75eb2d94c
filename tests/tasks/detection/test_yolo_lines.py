"""Lines of YOLO's labels are read by what data.yaml says; where nothing says what they are, the run stops."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.core.errors import DataError
from eightgig.tasks.detection.layouts import scan_detection_folder
from eightgig.tasks.detection.manifest import require_usable_detection
from eightgig.tasks.detection.parameters import DetectionDataParameters
from eightgig.tasks.detection.yolo_lines import Keypoints, LineRules, box_of, find_form, parse_line

BOX = "0 0.5 0.5 0.25 0.5"  # 30..50 x 15..45 of 80 x 60
OF_BOX = [30.0, 15.0, 50.0, 45.0]


def corners(boxes):
    return boxes[["x1", "y1", "x2", "y2"]].round(3).to_numpy().tolist()


def say(root, **words):
    (root / "data.yaml").write_text(json.dumps({"train": "images", "names": ["cup", "pen"], **words}))
    return root


@pytest.mark.parametrize(
    ("shape", "points"),
    [([2, 2], "0.4 0.3 0.6 0.7"), ([1, 2], "0.4 0.3"), ([1, 3], "0.4 0.3 2"), ([2, 3], "0.4 0.3 2 0 0 0")],
)
def test_keypoints_are_read_as_their_box_and_told(yolo, ingest, shape, points):
    root = say(yolo({"a": f"{BOX} {points}\n", "b": f"{BOX}\n"}), kpt_shape=shape)
    manifest, boxes, rejects, _ = ingest(root)
    assert corners(boxes) == [OF_BOX, OF_BOX]
    assert manifest["note"].fillna("").tolist() == ["boxes of objects with keypoints", ""]
    assert [(row.reason, row.action, row.file, row.detail) for row in rejects.itertuples()] == [
        ("keypoints", "kept", "data.yaml", "1 lines hold keypoints: their boxes are taken, the keypoints are left out")
    ]


def test_keypoints_of_another_shape_are_refused_by_line(yolo, ingest):
    root = say(yolo({"a": f"{BOX} 0.4 0.3 0.6 0.7\n"}), kpt_shape=[17, 3])
    manifest, _, rejects, _ = ingest(root)
    assert manifest.empty
    row = rejects[rejects["reason"] == "malformed_label"].iloc[0]
    assert (row["detail"], row["line"]) == (
        "wanted 4 numbers of a box and 51 of its keypoints (kpt_shape [17, 3]) after the class, found 8 numbers", 1,
    )  # fmt: skip


@pytest.mark.parametrize("shape", ["x", [2], [0, 2], [2, 4], [2, "a"], {"a": 1}, [["2"], 2]])
def test_a_kpt_shape_that_is_none_is_refused(yolo, shape):
    with pytest.raises(DataError, match=r"wanted kpt_shape as \[points, 2 or 3\]"):
        scan_detection_folder(say(yolo({"a": BOX}), kpt_shape=shape))


@pytest.mark.parametrize(
    ("numbers", "readings", "shapes"),
    [
        ("0.4 0.3", "polygons of 3 points or boxes with keypoints (kpt_shape: [1, 2])", "kpt_shape: [1, 2]"),
        (
            "0.4 0.3 0.6 0.7",
            "polygons of 4 points or boxes with keypoints (kpt_shape: [2, 2]) or oriented boxes",
            "kpt_shape: [2, 2]",
        ),
        (
            "0.4 0.3 2 0.5 0.5 1",
            "polygons of 5 points or boxes with keypoints (kpt_shape: [3, 2]) "
            "or boxes with keypoints (kpt_shape: [2, 3])",
            "kpt_shape: [3, 2] or kpt_shape: [2, 3]",
        ),
        (
            "0.4 0.3 2",
            "polygons and a confidence or boxes with keypoints (kpt_shape: [1, 3])",
            "kpt_shape: [1, 3]",
        ),
    ],
)  # fmt: skip
def test_what_could_be_two_things_is_refused_with_both_and_the_way_out(yolo, numbers, readings, shapes):
    with pytest.raises(DataError) as caught:
        scan_detection_folder(yolo({"a": f"{BOX} {numbers}\n"}))
    assert f"They could be {readings}, and nothing says which." in str(caught.value)
    assert f"For keypoints write {shapes} into data.yaml" in str(caught.value)
    assert "data.label_lines to 'polygons', 'oriented' or 'keypoints'" in str(caught.value)


@pytest.mark.parametrize(
    ("words", "parameter", "expected"),
    [
        ({}, "polygons", [20, 15, 60, 45]),
        ({}, "oriented", [20, 15, 60, 45]),
        ({}, "keypoints", [0, 22.5, 40, 37.5]),
        ({"task": "segment"}, None, [20, 15, 60, 45]),
        ({"task": "OBB"}, None, [20, 15, 60, 45]),
        ({"task": "pose"}, None, [0, 22.5, 40, 37.5]),
        ({"kpt_shape": [2, 2]}, None, [0, 22.5, 40, 37.5]),
        ({"kpt_shape": [2, 2]}, "polygons", [20, 15, 60, 45]),
    ],
)
def test_a_word_decides_and_the_users_comes_first(yolo, ingest, words, parameter, expected):
    root = say(yolo({"a": "1 0.25 0.5 0.5 0.25 0.75 0.5 0.5 0.75\n"}), **words)
    _, boxes, _, _ = ingest(root, label_lines=parameter)
    assert corners(boxes) == [expected]


@pytest.mark.parametrize(
    ("parameter", "line", "wanted"),
    [
        ("boxes", f"{BOX} 0.1 0.1", "wanted 4 numbers of a box after the class, found 6 numbers"),
        ("oriented", f"{BOX} 0.1 0.1", "wanted 8 numbers of an oriented box after the class, found 6 numbers"),
        ("polygons", f"{BOX} 0.1 0.1 0.1", "wanted pairs of numbers of a polygon after the class, found 7 numbers"),
        ("boxes", f"{BOX} 0.9", "(a fifth may be a confidence, or an angle: neither is read)"),
    ],
)
def test_a_line_of_another_form_is_refused(yolo, ingest, parameter, line, wanted):
    _, _, rejects, _ = ingest(yolo({"a": line}), label_lines=parameter)
    (detail,) = rejects[rejects["reason"] == "malformed_label"]["detail"]
    assert detail.endswith(wanted)


def test_polygons_are_known_where_they_cannot_be_boxes_with_keypoints(yolo, ingest):
    polygon = "0 0.70 0.80 0.90 0.80 0.90 0.95 0.70 0.95"  # read as a box it would be 72 pixels wide around 56
    _, boxes, rejects, _ = ingest(yolo(dict.fromkeys("abc", polygon)))
    assert corners(boxes) == [[56, 48, 72, 57]] * 3
    assert rejects["reason"].tolist() == ["polygons"]


def test_a_polygon_with_nothing_for_a_number_is_refused(yolo, ingest):
    _, boxes, rejects, _ = ingest(yolo({"a": "0 0.1 0.1 nan 0.2 0.3 0.3\n"}), label_lines="polygons")
    assert boxes.empty
    assert "not_finite" in set(rejects["reason"])


shares = st.floats(0.05, 0.95).map(lambda value: round(value, 4))


@settings(max_examples=60, deadline=None)
@given(shares, shares, st.lists(shares, min_size=2, max_size=40), st.integers(2, 3))
def test_of_any_count_of_numbers_a_shape_gives_the_box_and_none_gives_a_refusal(tmp_path_factory, x, y, values, size):
    num_points = len(values) // size
    points = values[: num_points * size]
    width, height = 1.8 * min(x, 1 - x), 1.8 * min(y, 1 - y)
    line = parse_line(" ".join(map(str, [1, x, y, width, height, *points])), 2, 1)
    if not num_points:
        return
    root = tmp_path_factory.getbasetemp()
    rules = LineRules("keypoints", Keypoints(num_points, size))
    assert find_form(root, rules, [("a.txt", line)] * 30) == "keypoints"
    box = box_of(line, "keypoints", rules.keypoints)
    assert box[1:5] == pytest.approx((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    with pytest.raises(DataError, match=r"They could be .* or .* nothing says which"):
        find_form(root, LineRules(), [("a.txt", line)] * 30)


@pytest.mark.parametrize(
    ("names", "message"),
    [("[cup, null]", "class 1"), ("[cup, ~]", "class 1"), ("{0: cup, 1: }", "class 1"), ("[cup, .NaN]", "class 1")],
)
def test_a_name_that_is_missing_is_no_class(yolo, names, message):
    root = yolo({"a": BOX})
    (root / "data.yaml").write_text(f"train: images\nnames: {names}\n")
    with pytest.raises(DataError, match=f"'names' has none for {message}"):
        scan_detection_folder(root)
    (root / "data.yaml").write_text("train: images\nnames: [cup, 'null', no]\n")
    assert scan_detection_folder(root).classes == ("cup", "null", "no")


def test_a_blank_line_among_classes_is_no_class_and_moves_none(yolo):
    root = yolo({"a": BOX})
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("cup\n\npen\n")
    with pytest.raises(DataError, match="line 2 is blank, so the numbers of the classes after it are unsure"):
        scan_detection_folder(root)
    (root / "classes.txt").write_text("cup\npen\n\n")
    assert scan_detection_folder(root).classes == ("cup", "pen")


@pytest.mark.parametrize("key", ["val", "valid", "validation", "Val", "dev", "eval"])
def test_a_split_in_data_yaml_has_any_of_its_names(yolo, key):
    root = yolo({"train/a": BOX, "val/b": BOX})
    (root / "data.yaml").write_text(f"train: images/train\n{key}: images/val\nnames: [cup]\n")
    folder = scan_detection_folder(root)
    assert {image.path: image.split for image in folder.images} == {
        "images/train/a.jpg": "train", "images/val/b.jpg": "val",
    }  # fmt: skip


def test_images_that_no_split_names_are_told(yolo):
    root = yolo({"train/a": BOX, "extra/b": BOX, "extra/c": BOX})
    (root / "data.yaml").write_text("train: images/train\nnames: [cup]\n")
    folder = scan_detection_folder(root)
    assert [image.path for image in folder.images] == ["images/train/a.jpg"]
    assert [(each.reason, each.detail) for each in folder.findings] == [
        ("not_listed", "2 images with labels in 'images/extra' are in no split that is named; left out")
    ]


def background(ingest, root, **parameters):
    manifest, boxes, rejects, folder = ingest(root, **parameters)
    data = DetectionDataParameters(root=str(root), **parameters)
    require_usable_detection(root, manifest, boxes, rejects, data, folder.classes)


def test_a_run_stops_where_half_of_the_images_lose_their_labels(yolo, ingest):
    root = yolo({"a": BOX, "b": BOX, "c": BOX, "d": None, "e": ""})
    background(ingest, root)
    (root / "labels" / "c.txt").unlink()
    message = (
        r"3 of 5 images would be taken as background, without any box \(2 no_label, 1 empty_label\), the first "
        r"images/c\.jpg \(there is no c\.txt in labels or beside it.*set data\.max_background_fraction above 0\.60"
    )
    with pytest.raises(DataError, match=message):
        background(ingest, root)
    background(ingest, root, max_background_fraction=0.7)
