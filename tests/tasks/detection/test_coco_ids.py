"""COCO's ids match across numbers and texts; a box is taken from wherever it is; what is missing or double is told."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.core.errors import DataError
from eightgig.tasks.detection.coco_boxes import corners_of
from eightgig.tasks.detection.layouts import scan_detection_folder
from eightgig.tasks.detection.manifest import require_usable_detection
from eightgig.tasks.detection.parameters import DetectionDataParameters

KINDS: dict[str, Callable[[int], object]] = {
    "int": int,
    "text": str,
    "float": float,
    "float text": lambda n: f"{n}.0",
    "padded": lambda n: f"{n:04}",
}


def change(root, edit):
    file = root / "instances_all.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
    return root


def small(coco, edit, num_images=3):
    annotations = [{"image_id": 100 + n, "category_id": 7, "bbox": [n, 2, 30, 20]} for n in range(num_images)]
    return change(coco(num_images, annotations, categories={7: "pen", 3: "cup"}), edit)


@settings(max_examples=40, deadline=None)
@given(*[st.sampled_from(sorted(KINDS))] * 4)
def test_ids_match_whatever_they_are_written_as(tmp_path_factory, of_image, to_image, of_category, to_category):
    root = tmp_path_factory.mktemp("set")
    (root / "images").mkdir()
    for n in range(2):
        (root / "images" / f"{n}.jpg").write_bytes(b"")
    content = {
        "images": [{"id": KINDS[of_image](n + 1), "file_name": f"{n}.jpg"} for n in range(2)],
        "categories": [{"id": KINDS[of_category](c), "name": name} for c, name in ((12, "pen"), (2, "cup"))],
        "annotations": [
            {"id": n, "image_id": KINDS[to_image](n + 1), "category_id": KINDS[to_category](12), "bbox": [n, 0, 5, 5]}
            for n in range(2)
        ],
    }
    (root / "a.json").write_text(json.dumps(content))
    folder = scan_detection_folder(root)
    assert folder.classes == ("cup", "pen")
    assert folder.findings == ()
    assert [(p.path, [(box.label, box.x1) for box in p.boxes]) for p in folder.images] == [
        ("images/0.jpg", [(1, 0)]), ("images/1.jpg", [(1, 1)]),
    ]  # fmt: skip


def test_ids_that_only_look_like_numbers_stay_apart(coco):
    def edit(content):
        for image, key in zip(content["images"], ["1", "01", "2e3"], strict=True):
            image["id"] = key
        for each, key in zip(content["annotations"], ["01", "1", "2000"], strict=True):
            each["image_id"] = key

    folder = scan_detection_folder(small(coco, edit))
    assert [[box.x1 for box in image.boxes] for image in folder.images] == [[1], [0], []]
    assert [(each.reason, each.detail) for each in folder.findings] == [
        ("label_without_image", "not one image has the id '2000'")
    ]


def test_a_mismatch_of_all_ids_is_named(coco, ingest):
    def edit(content):
        for image in content["images"]:
            image["id"] = f"img_{image['id']}"

    root = small(coco, edit)
    manifest, boxes, rejects, folder = ingest(root)
    message = r"3 of 6 files cannot be used \(3 label_without_image\).*not one image has the id 100"
    with pytest.raises(DataError, match=message):
        require_usable_detection(
            root, manifest, boxes, rejects, DetectionDataParameters(root=str(root)), folder.classes
        )


@pytest.mark.parametrize("value", [None, "", True, [], {}, float("nan")])
@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_an_id_that_is_missing_is_listed(coco, ingest, key, value):
    root = small(coco, lambda content: content["annotations"][0].update({key: value}))
    _, boxes, rejects, folder = ingest(root)
    assert folder.classes == ("cup", "pen")
    assert len(boxes) == 2
    reason = "malformed_label" if key == "image_id" else "unknown_class"
    assert rejects[rejects["action"] == "refused"]["reason"].tolist() == [reason]


@pytest.mark.parametrize("name", [None, "", " ", 3, ["cup"]])
def test_a_category_without_a_name_is_no_class(coco, name):
    root = small(coco, lambda content: content["categories"][0].update(name=name))
    with pytest.raises(DataError, match=r"wanted (categories with an 'id' and a 'name'|class names that are text)"):
        scan_detection_folder(root)


def test_two_categories_with_one_id_or_one_name(coco):
    root = small(coco, lambda content: content["categories"].append({"id": "7", "name": "mug"}))
    with pytest.raises(DataError, match="two categories have the id 7: 'pen', 'mug'"):
        scan_detection_folder(root)
    change(root, lambda content: content["categories"][-1].update(id=9, name=" pen"))
    folder = scan_detection_folder(root)
    assert folder.classes == ("cup", "pen")
    assert [(each.reason, each.detail) for each in folder.findings] == [
        ("one_class", "the categories '7', '9' have one name; they are one class")
    ]


RLE = {"size": [60, 80], "counts": [5 * 60 + 10, 20, 40, 20, 40, 20, 60 * 80 - 310 - 140]}  # 3 columns of 20 pixels


@pytest.mark.parametrize(
    ("annotation", "corners", "origin"),
    [
        ({"bbox": ["1", 2, 3.5, 4]}, (1, 2, 4.5, 6), "bbox"),
        ({"segmentation": [[3, 4, 13, 4, 13, 24]]}, (3, 4, 13, 24), "polygon"),
        ({"bbox": [], "segmentation": [[3, 4, 13, 4, 13, 24], [0, 9, 1, 9, 1, 10]]}, (0, 4, 13, 24), "polygon"),
        ({"bbox": None, "segmentation": [3, 4, 13, 4, 13, 24]}, (3, 4, 13, 24), "polygon"),
        ({"segmentation": RLE}, (5, 10, 8, 30), "run lengths"),
    ],
)
def test_a_box_comes_from_bbox_polygon_or_run_lengths(annotation, corners, origin):
    assert corners_of(annotation) == (corners, origin)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False), st.booleans())
def test_the_box_of_run_lengths_is_that_of_their_pixels(height, width, random, compressed):
    from pycocotools import mask as coco_mask

    mask = np.array([[random.random() < 0.3 for _ in range(width)] for _ in range(height)], dtype=np.uint8)
    counts = coco_mask.encode(np.asfortranarray(mask))["counts"].decode() if compressed else runs_of(mask)
    annotation = {"segmentation": {"size": [height, width], "counts": counts}}
    if not mask.any():
        with pytest.raises(ValueError, match="no pixel of an object"):
            corners_of(annotation)
        return
    rows, columns = np.nonzero(mask)
    wanted = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert corners_of(annotation) == (wanted, "run lengths")


def runs_of(mask):
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return np.diff(np.concatenate([[0], edges])).tolist()


@pytest.mark.parametrize(
    "annotation",
    [
        {}, {"bbox": [1, 2, 3]}, {"bbox": "1 2 3 4"}, {"bbox": [1, 2, None, 4]}, {"segmentation": [[1, 2, 3, 4]]},
        {"segmentation": [[1, 2, 3, 4, 5]]}, {"segmentation": [[1, 2, 3, "x", 5, 6]]}, {"segmentation": []},
        {"segmentation": [[1, 2, 3, float("nan"), 5, 6]]}, {"segmentation": {"size": [2, 2], "counts": [1, 2]}},
        {"segmentation": {"size": [2, 2], "counts": 4}}, {"segmentation": {"size": [2], "counts": [4]}},
        {"segmentation": {"size": [-2, -2], "counts": [4]}}, {"segmentation": {"size": [2, 2], "counts": "\u00e9"}},
        {"segmentation": {"size": [2, 2], "counts": "o" * 40}}, {"segmentation": {"size": [2, 2], "counts": [-4, 8]}},
    ],
)  # fmt: skip
def test_what_has_no_box_is_refused(annotation):
    with pytest.raises(ValueError, match=r"wanted|not a number|could not convert"):
        corners_of(annotation)


def test_a_box_that_is_made_up_of_a_polygon_is_told(coco, ingest):
    def edit(content):
        del content["annotations"][1]["bbox"]
        content["annotations"][1]["segmentation"] = [[3, 4, 13, 4, 13, 24]]

    _, boxes, rejects, _ = ingest(small(coco, edit))
    assert boxes[["x1", "y1", "x2", "y2"]].to_numpy().tolist()[1] == [3, 4, 13, 24]
    assert [(row.reason, row.action, row.line) for row in rejects.itertuples()] == [("box_around", "kept", 1001)]


@pytest.mark.parametrize(
    ("bbox", "reason", "action"),
    [
        ([10, 10, 0, 20], "too_small_box", "box left out"),
        ([30, 10, -20, 20], "inverted_box", "refused"),
        ([10, 10, float("nan"), 20], "not_finite", "refused"),
    ],
)
def test_a_box_without_area_is_told(coco, ingest, bbox, reason, action):
    root = small(coco, lambda content: content["annotations"][0].update(bbox=bbox))
    _, boxes, rejects, _ = ingest(root)
    assert len(boxes) == 2
    assert rejects[["reason", "action"]].to_numpy().tolist() == [[reason, action]]


@pytest.mark.parametrize("value", [1, True, "1", "true", 1.0])
def test_a_crowd_is_one_however_it_is_written(coco, ingest, value):
    _, boxes, rejects, _ = ingest(small(coco, lambda content: content["annotations"][0].update(iscrowd=value)))
    assert len(boxes) == 2
    assert rejects[["reason", "action"]].to_numpy().tolist() == [["crowd", "box left out"]]


def test_what_is_double_is_told(coco):
    def edit(content):
        content["annotations"][1]["id"] = content["annotations"][0]["id"]
        content["images"].append(dict(content["images"][0]))

    folder = scan_detection_folder(small(coco, edit))
    assert [len(image.boxes) for image in folder.images] == [1, 1, 1]
    assert [(each.reason, each.action) for each in folder.findings] == [
        ("duplicate_id", "kept"), ("duplicate_entry", "kept"),
    ]  # fmt: skip


def test_a_folder_without_a_file_of_coco_says_so(coco):
    root = small(coco, lambda content: content.pop("categories"))
    (root / "instances_all.json").rename(root / "notes.json")
    with pytest.raises(DataError, match="found no file with images, annotations and categories"):
        scan_detection_folder(root, "coco")


def test_a_size_as_text_is_compared(coco, ingest):
    root = small(coco, lambda content: content["images"][0].update(width="800", height=600.0))
    _, _, rejects, _ = ingest(root)
    assert rejects["detail"].tolist() == ["the label is for 800 x 600 pixels, the image has 80 x 60"]
