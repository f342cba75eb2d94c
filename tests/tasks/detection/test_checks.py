"""What becomes of each box, by hand and as properties."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.data.store.boxes import ragged_boxes
from eightgig.tasks.detection.annotated import AnnotatedImage, DetectionFolder, RawBox
from eightgig.tasks.detection.checks import CheckedBox, check_boxes
from eightgig.tasks.detection.copies import settle_copies

FOLDER = DetectionFolder(Path("root"), "voc", ("cup", "pen"), ())


def check(*corners, size=(1000, 500), label=0, **options):
    boxes = tuple(RawBox(label, x1, y1, x2, y2, line) for line, (x1, y1, x2, y2) in enumerate(corners, start=1))
    image = AnnotatedImage("a.jpg", "a.xml", boxes, **options)
    width, height = size
    return check_boxes(FOLDER, image, width, height, min_side=2.0)


@pytest.mark.parametrize(
    ("corners", "kept", "reason", "action"),
    [
        ((0, 0, 1000, 500), (0, 0, 1000, 500), None, None),
        ((-2, 10, 20, 501), (0, 10, 20, 500), None, None),  # within 0.2 % of 1000, and within 1 pixel of 500
        ((-2.5, 10, 20, 30), (0, 10, 20, 30), "outside", "box clipped"),
        ((10, 498, 20, 501.5), (10, 498, 20, 500), "outside", "box clipped"),
        ((-21, 10, 9, 30), None, "outside", "box left out"),  # 9 of 30 are under a third
        ((-20, 10, 10, 30), (0, 10, 10, 30), "outside", "box clipped"),  # 10 of 30 are a third
        ((2000, 10, 2010, 20), None, "outside", "box left out"),
        ((10, 10, 11.9, 30), None, "too_small_box", "box left out"),
        ((10, 10, 10, 10), None, "too_small_box", "box left out"),
        ((20, 10, 10, 30), None, "inverted_box", "refused"),
        ((10, float("nan"), 20, 30), None, "not_finite", "refused"),
        ((10, 10, float("inf"), 30), None, "not_finite", "refused"),
        ((-1e308, -1e308, 1e308, 1e308), None, "outside", "box left out"),
    ],
)
def test_a_box_is_kept_cut_or_left_out(corners, kept, reason, action):
    boxes, findings = check(corners)
    assert boxes == ([CheckedBox(0, *kept)] if kept else [])
    wanted = [("a.jpg", reason, action, "a.xml", 1, "cup")] if reason else []
    assert [(each.path, each.reason, *each[3:]) for each in findings] == wanted


def test_of_equal_boxes_one_is_kept():
    boxes, findings = check((1, 2, 30, 40), (1.001, 2, 30, 40), (1, 2, 30, 41))
    assert boxes == [CheckedBox(0, 1, 2, 30, 40), CheckedBox(0, 1, 2, 30, 41)]
    assert [(each.reason, each.action, each.line) for each in findings] == [("duplicate_box", "box left out", 2)]


def test_a_label_for_another_size_is_refused_unless_it_is_empty():
    _, findings = check((1, 2, 30, 40), declared_size=(500, 1000))
    assert [(each.reason, each.action) for each in findings] == [("size_differs", "refused")]
    assert "before it was turned upright by its EXIF orientation" in findings[0].detail
    assert [each.action for each in check(declared_size=(10, 10))[1]] == ["kept"]
    assert check(declared_size=(1000, 500))[1] == []


edges = st.floats(-300, 1300, allow_nan=False)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(edges, edges, edges, edges), max_size=8))
def test_every_box_is_kept_or_listed_and_lies_inside(corners):
    boxes, findings = check(*corners)
    assert all(0 <= each.x1 <= each.x2 - 2 and each.x2 <= 1000 for each in boxes)
    assert all(0 <= each.y1 <= each.y2 - 2 and each.y2 <= 500 for each in boxes)
    lost = [each for each in findings if each.action != "box clipped"]
    assert len(boxes) + len(lost) == len(corners)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(1, 4), st.randoms(use_true_random=False))
def test_flat_boxes_are_those_of_each_image(counts, shrink, shuffler):
    rows = [(index, n, n, n + 4, n + 8, n % 2) for index, count in enumerate(counts) for n in range(count)]
    shuffled = shuffler.sample(rows, len(rows))
    boxes = pd.DataFrame(shuffled, columns=["index", "x1", "y1", "x2", "y2", "label"]).astype({"label": int})
    chosen = shuffler.sample(range(len(counts)), shuffler.randint(1, len(counts)))
    manifest = pd.DataFrame({"height": 80, "width": 160}, index=range(len(counts))).iloc[chosen]
    shapes = np.array([[80 // shrink, 160 // shrink]] * len(chosen), dtype=np.int32)
    flat = ragged_boxes(manifest, boxes, shapes)
    assert np.diff(flat.offsets).tolist() == [counts[index] for index in chosen]
    for place, index in enumerate(chosen):
        own = slice(*flat.offsets[place : place + 2])
        wanted = sorted(row[1:5] for row in rows if row[0] == index)
        scaled = flat.boxes[own] * np.tile([160, 80], 2) / np.tile(shapes[0, ::-1], 2)
        assert sorted(map(tuple, scaled.round(3).tolist())) == wanted


def usable(path, split, *boxes, content="same"):
    return {"path": path, "split": split, "content_hash": content, "boxes": boxes}


def test_copies_go_to_one_split_or_out():
    first, second = CheckedBox(0, 1, 1, 5, 5), CheckedBox(1, 1, 1, 5, 5)
    nearly = CheckedBox(0, 1.4, 1, 5, 5)
    images = [
        usable("a", "test", first, second),
        usable("b", "val", second, nearly),
        usable("c", "", content="other"),
    ]
    kept, findings = settle_copies(pd.DataFrame(images))
    assert [*zip(kept["path"], kept["split"], strict=True)] == [("a", "val"), ("b", "val"), ("c", "")]
    assert [(each.path, each.reason, each.action) for each in findings] == [("a", "in_two_splits", "kept")]
    kept, findings = settle_copies(pd.DataFrame([usable("a", "train", first), usable("b", "train", second)]))
    assert kept.empty
    assert {(each.path, each.reason, each.action) for each in findings} == {
        ("a", "conflicting_boxes", "refused"),
        ("b", "conflicting_boxes", "refused"),
    }
