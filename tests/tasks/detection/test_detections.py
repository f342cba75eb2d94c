"""Suppression by hand, and against a plain loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.tasks.detection.detections import suppress


def predictions(*rows: tuple[float, ...]) -> torch.Tensor:
    """One image's, each row: centre x, y, width, height, objectness, classes."""
    return torch.tensor([rows], dtype=torch.float32)


def test_of_two_that_overlap_the_better_stays() -> None:
    (found,) = suppress(
        predictions((50, 50, 20, 20, 0.5, 1, 0), (51, 50, 20, 20, 0.9, 1, 0), (80, 50, 20, 20, 0.8, 1, 0)),
        confidence=0.25,
        iou=0.45,
    )
    assert found.boxes_xyxy_M4.tolist() == [[41, 40, 61, 60], [70, 40, 90, 60]]
    np.testing.assert_allclose(found.scores_M, [0.9, 0.8])
    assert found.labels_M.tolist() == [0, 0]
    assert [values.dtype for values in found] == [np.float32, np.float32, np.int64]


def test_another_class_is_another_object() -> None:
    (found,) = suppress(
        predictions((50, 50, 20, 20, 0.5, 1, 0), (50, 50, 20, 20, 0.9, 0, 1)), confidence=0.25, iou=0.45
    )
    assert found.labels_M.tolist() == [1, 0]


def test_boxes_that_overlap_by_no_more_than_iou_stay() -> None:
    # 20 x 20 and the same 5 to the right: 300 of 500.
    rows = (50, 50, 20, 20, 0.5, 1), (55, 50, 20, 20, 0.9, 1)
    assert [len(suppress(predictions(*rows), confidence=0.1, iou=iou)[0].scores_M) for iou in (0.59, 0.61)] == [1, 2]


def test_a_score_is_objectness_times_class_and_must_be_better_than_the_confidence() -> None:
    rows = (10, 10, 4, 4, 0.5, 0.5, 0.25), (50, 50, 4, 4, 0.25, 1, 0), (90, 90, 4, 4, 0.5, 0.5, 0.75)
    (found,) = suppress(predictions(*rows), confidence=0.25, iou=0.5)
    assert (found.scores_M.tolist(), found.labels_M.tolist()) == ([0.375], [1])


def test_one_prediction_may_count_for_several_classes_where_it_is_asked() -> None:
    rows = predictions((50, 50, 20, 20, 0.5, 0.5, 1, 0.001))
    (several,) = suppress(rows, confidence=0.01, iou=0.5, multi_label=True)
    (one,) = suppress(rows, confidence=0.01, iou=0.5)
    assert (several.labels_M.tolist(), several.scores_M.tolist()) == ([1, 0], [0.5, 0.25])
    assert one.labels_M.tolist() == [1]


def test_no_more_than_asked_and_the_best_of_them() -> None:
    rows = [(20 * i, 10, 4, 4, 0.3 + i / 100, 1) for i in range(40)]
    (found,) = suppress(predictions(*rows), confidence=0.25, iou=0.5, max_detections=3)
    np.testing.assert_allclose(found.scores_M, [0.69, 0.68, 0.67], rtol=1e-6)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_image_without_anything_gives_empty_arrays(multi_label: bool) -> None:
    found = suppress(torch.zeros(2, 5, 7), confidence=0.25, iou=0.5, multi_label=multi_label)
    assert [values.shape for values in found[0]] == [(0, 4), (0,), (0,)]
    assert found[1].labels_M.dtype == np.int64


def overlap(first: list[float], second: list[float]) -> float:
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    both = max(0, wide) * max(0, high)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return both / (sum(areas) - both)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num=st.integers(0, 60), multi_label=st.booleans())
def test_it_is_what_a_plain_loop_gives(seed: int, num: int, multi_label: bool) -> None:
    rng = np.random.default_rng(seed)
    image_PK = np.concatenate([rng.uniform(20, 60, (num, 2)), rng.uniform(5, 30, (num, 2)), rng.random((num, 4))], 1)
    image_PK = image_PK.astype(np.float32)
    scores_PK = image_PK[:, 5:] * image_PK[:, 4:5]
    candidates = [
        (scores_PK[p, k], p, k)
        for p in range(num)
        for k in (range(3) if multi_label else [int(scores_PK[p].argmax())])
        if scores_PK[p, k] > 0.1
    ]
    kept: list[tuple[float, list[float], int]] = []
    for score, p, k in sorted(candidates, reverse=True):
        x, y, w, h = image_PK[p, :4].tolist()
        box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        if all(k != label or overlap(box, other) <= 0.5 for _, other, label in kept):
            kept.append((score, box, k))
    (found,) = suppress(image_PK[None], confidence=0.1, iou=0.5, multi_label=multi_label)
    assert found.labels_M.tolist() == [k for _, _, k in kept]
    np.testing.assert_allclose(found.boxes_xyxy_M4, np.reshape([box for _, box, _ in kept], (-1, 4)), atol=1e-4)
