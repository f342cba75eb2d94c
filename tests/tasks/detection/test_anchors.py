"""Anchors are kept where they fit, and fitted where they do not."""

import numpy as np
import pytest

from eightgig.tasks.detection.anchors import fit_anchors, recall_of
from eightgig.tasks.detection.model import COCO_ANCHORS, build_yolov5


def small_boxes(num: int = 400) -> np.ndarray:
    return np.exp(np.random.default_rng(3).normal(np.log(6), 0.6, (num, 2)))


def test_recall_by_hand() -> None:
    anchors = np.array([[10.0, 10.0], [40.0, 20.0]])
    boxes = np.array([[39.0, 39.0], [41.0, 10.0], [2.4, 10.0], [161.0, 20.0]])  # both; the second; none; none
    assert recall_of(anchors, boxes) == 0.5
    assert recall_of(anchors, np.empty((0, 2))) == 0


def test_cocos_are_kept_where_they_fit() -> None:
    found = fit_anchors(np.random.default_rng(0).uniform(20, 150, (200, 2)), image_size=320, seed=0)
    assert (found.changed, found.recall_before, found.num_boxes) == (False, found.recall_after, 200)
    assert found.by_level() == COCO_ANCHORS


def test_others_fit_better_where_cocos_do_not() -> None:
    found = fit_anchors(small_boxes(), image_size=192, seed=0)
    assert found.changed
    assert found.recall_before < 0.98
    assert found.recall_after > 0.97
    areas = [width * height for width, height in found.anchors]
    assert areas == sorted(areas)
    assert found.recall_after == recall_of(np.array(found.anchors), small_boxes())


def test_the_same_seed_gives_the_same() -> None:
    assert fit_anchors(small_boxes(), image_size=192, seed=4) == fit_anchors(small_boxes(), image_size=192, seed=4)


def test_a_network_takes_them_level_by_level() -> None:
    found = fit_anchors(small_boxes(), image_size=192, seed=0)
    network = build_yolov5("yolov5n", weights="none", num_classes=2, anchors=found.by_level()).module
    np.testing.assert_allclose(network.get_buffer("anchors").reshape(9, 2), found.anchors, rtol=1e-6)


@pytest.mark.parametrize("num", [0, 8])
def test_with_few_boxes_cocos_are_scaled_to_the_image(num: int) -> None:
    found = fit_anchors(np.full((num, 2), 30.0), image_size=160, seed=0)
    assert found.changed
    assert found.anchors[-1] == (93.2, 81.5)
    assert found.anchors[0] == (2.5, 3.2)


def test_boxes_of_one_odd_size_are_fitted_too() -> None:
    found = fit_anchors(np.full((30, 2), (300.0, 4.0)), image_size=320, seed=0)
    assert (found.recall_before, found.recall_after) == (0, 1)


def test_boxes_without_area_do_not_count() -> None:
    boxes = np.array([[0.0, 10.0], [np.nan, 4.0], [30.0, np.inf]] + [[30.0, 30.0]] * 20)
    assert fit_anchors(boxes, image_size=320, seed=0).num_boxes == 20
