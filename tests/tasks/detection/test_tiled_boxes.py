"""Objects that tiles cut come out whole and once, wherever the seams are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.core.errors import ConfigurationError
from eightgig.tasks.detection.detections import Detections
from eightgig.tasks.detection.tiled_boxes import merge_boxes
from eightgig.tiles.grid import STEP, Grid
from eightgig.tiles.source import ArraySource

GRID = Grid(300, 400, 128, 32)  # inner edges at 96 and 128, 192 and 224, ...
SMALLEST_PART_PX = 3


def empty():
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def source_of(grid):
    """Return an image whose colours tell where they are."""
    y_HW, x_HW = np.indices((grid.height, grid.width)) // STEP
    return ArraySource(np.stack([x_HW, y_HW, x_HW], axis=-1).astype(np.uint8))


def place_of(image_CHW):
    """Return where a tile begins, by its colours."""
    return image_CHW[:2, 0, 0].astype(int) * STEP


def detector(objects, *, tile=128, jitter=0.0, drop=lambda _: False):
    """Return a perfect detector of `objects` (x1, y1, x2, y2, label): each tile shows it what lies in it."""

    def look(image_CHW):
        corner_2, rng = place_of(image_CHW), np.random.default_rng(image_CHW[:2, 0, 0])
        boxes, labels = [], []
        for *box, label in objects:
            part_22 = (np.array(box, np.float32).reshape(2, 2) - corner_2).clip(0, tile)
            if ((part_22[1] - part_22[0]) >= SMALLEST_PART_PX).all() and not drop(tuple(corner_2)):
                boxes.append((part_22 + rng.uniform(-jitter, jitter, (2, 2))).clip(0, tile).ravel())
                labels.append(label)
        if not boxes:
            return empty()
        scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)
        return Detections(np.array(boxes, np.float32), scores, np.array(labels, np.int64))

    return lambda images_N3HW: [look(image) for image in images_N3HW]


def merged(objects, folder, *, grid=GRID, **options):
    run = detector(objects, tile=grid.tile, **options)
    found = merge_boxes(source_of(grid), run, grid=grid, batch=3, iou=0.45, scratch=folder)
    assert (np.diff(found.scores_M) <= 0).all()
    assert (found.boxes_xyxy_M4.dtype, found.scores_M.dtype, found.labels_M.dtype) == (np.float32, np.float32, np.int64)
    return sorted((*box, label) for box, label in zip(found.boxes_xyxy_M4.tolist(), found.labels_M, strict=True))


def assert_found(objects, folder, **options):
    found, wanted = merged(objects, folder, **options), sorted(objects)
    assert len(found) == len(wanted), found
    assert np.allclose(found, wanted, atol=2 * options.get("jitter", 0.0) + 1e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@pytest.mark.parametrize("box", [
    (100, 20, 120, 40),     # in the part that two tiles share, whole in both
    (80, 20, 110, 40),      # cut by the second tile's edge
    (110, 20, 140, 40),     # cut by the first tile's edge
    (85, 20, 140, 60),      # larger than the overlap: cut by both
    (85, 85, 140, 140),     # the same at the corner of four tiles
    (100, 100, 120, 120),   # whole in four tiles
    (90, 100, 230, 120),    # over three tiles
    (20, 10, 390, 290),     # larger than tiles, over all of them
    (0, 0, 400, 300),       # the whole image
    (0, 110, 5, 200),       # at the image's border
    (380, 280, 400, 300),   # in its last corner
    (94, 20, 126, 40),      # ends 2 pixels from both edges
], ids=str)  # fmt: skip
@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_an_object_is_found_whole_and_once(folder, box, jitter):
    assert_found([(*box, 2)], folder, jitter=jitter)


@pytest.mark.parametrize("objects", [
    [(40, 20, 110, 80, 1), (110, 20, 180, 80, 1)],    # side by side, the border between them in the overlap
    [(40, 20, 128, 80, 1), (128, 20, 200, 80, 1)],    # the border at a tile's edge
    [(60, 20, 160, 60, 1), (60, 60, 160, 100, 1)],    # one above the other, both cut by the same seam
    [(85, 85, 140, 112, 1), (85, 112, 140, 140, 1)],  # at the corner of four tiles
    [(85, 20, 140, 60, 1), (85, 20, 140, 60, 2)],     # in one place, of two classes
], ids=str)  # fmt: skip
def test_two_objects_that_touch_stay_two(folder, objects):
    assert_found(objects, folder)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 390), st.integers(0, 290), st.integers(8, 400), st.integers(8, 300), st.sampled_from([24, 32, 64])
)
def test_any_object_in_any_grid(folder, left, top, width, height, overlap):
    box = (left, top, min(left + width, 400), min(top + height, 300), 0)
    assert_found([box], folder, grid=Grid(300, 400, 128, overlap))


def test_a_part_that_no_other_tile_has_is_kept(folder):
    found = merged([(80, 20, 140, 40, 3)], folder, drop=lambda corner: corner != (96, 0))
    assert found == [(96, 20, 140, 40, 3)]


def test_the_best_score_of_the_parts_counts(folder):
    def two_tiles(images_N3HW):
        scores = {(0, 0): (110, 128, 0.4), (96, 0): (0, 32, 0.8)}
        for image in images_N3HW:
            left, right, score = scores.get(tuple(place_of(image)), (0, 0, 0))
            box = np.array([[left, 10, right, 30]], np.float32)
            yield Detections(box, np.array([score], np.float32), np.zeros(1, np.int64)) if score else empty()

    found = merge_boxes(
        source_of(GRID), lambda images: list(two_tiles(images)), grid=GRID, batch=2, iou=0.5, scratch=folder
    )
    assert found.scores_M.tolist() == pytest.approx([0.8])
    assert found.boxes_xyxy_M4.tolist() == [[96, 10, 128, 30]]


def test_mirror_images_beyond_the_border_are_dropped(folder):
    grid, both = Grid(60, 60, 64, 8), np.array([[5, 5, 20, 20], [61, 5, 63, 20], [50, 5, 64, 20]], np.float32)
    answer = Detections(both, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64))
    source = ArraySource(np.zeros((60, 60, 3), np.uint8))
    found = merge_boxes(source, lambda _: [answer], grid=grid, batch=1, iou=0.5, scratch=folder)
    assert found.boxes_xyxy_M4.tolist() == [[5, 5, 20, 20], [50, 5, 60, 20]]


def test_nothing_is_found_in_nothing(folder):
    assert merged([], folder) == []
    assert list(folder.iterdir()) == []


def test_an_answer_is_missing(folder):
    source = ArraySource(np.zeros((300, 400, 3), np.uint8))
    with pytest.raises(
        ConfigurationError, match="wanted the detections of 3 tiles from the detector, found those of 1"
    ):
        merge_boxes(source, lambda _: [empty()], grid=GRID, batch=3, iou=0.5, scratch=folder)
