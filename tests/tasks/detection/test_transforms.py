"""Boxes stay on what they enclose, whatever happens to the image."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from eightgig.data.images.letterbox import GREY, letterbox_into, placement_of
from eightgig.data.store.boxes import Boxes
from eightgig.tasks.detection import transforms
from eightgig.tasks.detection.parameters import BoxAugmentParameters

RED, BLUE = (250, 10, 10), (10, 10, 250)
SIDE = 96
few = settings(max_examples=50, deadline=None)


def painted(height, width, box, colour=RED):
    """A black image with one filled rectangle; its box."""
    image_HWC = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = box
    image_HWC[top:bottom, left:right] = colour
    return image_HWC, Boxes(np.array([box], np.float32), np.array([1]))


def extent(image_HWC, colour=RED):
    """The box around all pixels that are nearer to a colour than to anything else on the canvas."""
    near = np.abs(image_HWC.astype(int) - colour).sum(2) < 200
    if not near.any():
        return None
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@st.composite
def images(draw):
    height, width = draw(st.integers(40, 160)), draw(st.integers(40, 160))
    left, top = draw(st.integers(0, width - 24)), draw(st.integers(0, height - 24))
    right, bottom = draw(st.integers(left + 20, width)), draw(st.integers(top + 20, height))
    return height, width, (left, top, right, bottom)


@few
@given(images())
def test_letterbox_and_back(image):
    image_HWC, boxes = painted(*image)
    canvas_HWC = np.empty((SIDE, SIDE, 3), np.uint8)
    placement = letterbox_into(image_HWC, canvas_HWC)
    height, width, _ = image
    assert placement == placement_of(height, width, SIDE)
    moved_M4 = transforms.letterboxed(boxes.xyxy_M4, placement)
    assert np.abs(moved_M4[0] - extent(canvas_HWC)).max() <= 1.5
    assert moved_M4.min() >= -0.5
    assert moved_M4.max() <= SIDE + 0.5
    back_M4 = transforms.unletterboxed(moved_M4, placement, *image[:2])
    assert np.abs(back_M4 - boxes.xyxy_M4).max() < 0.01


def test_letterbox_by_hand():
    canvas_HWC = np.empty((64, 64, 3), np.uint8)
    placement = letterbox_into(np.zeros((100, 200, 3), np.uint8), canvas_HWC)
    assert placement == (0.32, 0, 16)
    assert (canvas_HWC[:16] == GREY).all()
    assert (canvas_HWC[16:48] == 0).all()
    assert (canvas_HWC[48:] == GREY).all()


@few
@given(images(), st.integers(0, 10**6), st.sampled_from([0.0, 0.0, 20.0]))
def test_affine(image, seed, degrees):
    image_HWC, boxes = painted(*image)
    augment = BoxAugmentParameters(degrees=degrees, shear=degrees / 4, scale=0.4, translate=0.2)
    place = np.diag([SIDE / 160, SIDE / 160, 1.0])
    matrix = transforms.random_affine(augment, random.Random(seed), middle=SIDE / 2, side=SIDE) @ place
    out_HWC = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    moved = transforms.place_into(image_HWC, boxes, matrix, out_HWC)
    seen = extent(out_HWC)
    if not len(moved.labels_M):
        assert seen is None or (seen[2:] - seen[:2]).min() <= 6 or degrees  # cut off, or too little of it is left
        return
    assert moved.labels_M.tolist() == [1]
    assert moved.xyxy_M4.min() >= 0
    assert moved.xyxy_M4.max() <= SIDE
    if seen is None:
        return
    assert (moved.xyxy_M4[0, :2] <= seen[:2] + 1.5).all()
    assert (moved.xyxy_M4[0, 2:] >= seen[2:] - 1.5).all()
    if not degrees:
        assert np.abs(moved.xyxy_M4[0] - seen).max() <= 1.5


@few
@given(st.integers(0, 10**6))
def test_mosaic_keeps_four_images_apart(seed):
    rng = random.Random(seed)
    canvas_HWC = np.full((2 * SIDE, 2 * SIDE, 3), GREY, np.uint8)
    sizes = [(rng.randrange(50, 150), rng.randrange(50, 150)) for _ in range(4)]
    places = transforms.mosaic_places(sizes, SIDE, rng)
    colours = [RED, BLUE, (10, 250, 10), (250, 250, 10)]
    for (height, width), place, colour in zip(sizes, places, colours, strict=True):
        image_HWC, boxes = painted(height, width, (0, 0, width, height), colour)
        moved = transforms.place_into(image_HWC, boxes, place, canvas_HWC)
        corner = place[:2, 2]
        whole = np.clip([*corner, *(corner + place[0, 0] * np.array([width, height]))], 0, 2 * SIDE)
        assert len(moved.labels_M) == 0 or np.abs(moved.xyxy_M4[0] - whole).max() < 1e-3
    for colour in colours:  # the later ones have not painted over the earlier ones
        assert extent(canvas_HWC, colour) is not None


def test_boxes_with_too_little_left_are_dropped():
    image_HWC, _ = painted(96, 96, (0, 0, 20, 20))
    boxes = Boxes(np.array([[0, 0, 20, 20], [0, 0, 96, 1], [0, 0, 96, 96]], np.float32), np.array([0, 1, 2]))
    moved = transforms.place_into(image_HWC, boxes, np.array([[1, 0, -19.0], [0, 1, 0], [0, 0, 1]]), image_HWC.copy())
    assert moved.labels_M.tolist() == [2]


@few
@given(images())
def test_two_flips_are_none(image):
    image_HWC, boxes = painted(*image)
    flipped_HWC = image_HWC.copy()
    once = transforms.flip(flipped_HWC, boxes)
    assert np.abs(once.xyxy_M4[0] - extent(flipped_HWC)).max() == 0
    twice = transforms.flip(flipped_HWC, once)
    assert np.array_equal(flipped_HWC, image_HWC)
    assert np.array_equal(twice.xyxy_M4, boxes.xyxy_M4)


def test_colour_varies_and_nothing_is_nothing():
    image_HWC, _ = painted(20, 20, (0, 0, 20, 20), (200, 100, 50))
    same_HWC = image_HWC.copy()
    transforms.hsv_jitter(same_HWC, BoxAugmentParameters(hue=0, saturation=0, value=0), random.Random(0))
    assert np.abs(same_HWC.astype(int) - image_HWC).max() <= 2  # HSV in bytes rounds
    transforms.hsv_jitter(image_HWC, BoxAugmentParameters(value=0.5), random.Random(1))
    assert np.abs(same_HWC.astype(int) - image_HWC).max() > 10


@pytest.mark.parametrize(
    ("name", "wrong", "why"),
    [
        ("mosaic", 1.1, "less_than_equal"),
        ("scale", 1.0, "less_than"),
        ("shear", 90, "less_than"),
        ("close_mosaic", -1, "greater_than_equal"),
        ("hus", 0.1, "extra_forbidden"),
    ],
)
def test_wrong_parameters_are_refused(name, wrong, why):
    with pytest.raises(ValidationError) as caught:
        BoxAugmentParameters(**{name: wrong})
    assert [(error["loc"], error["type"]) for error in caught.value.errors()] == [((name,), why)]
