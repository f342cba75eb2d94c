"""The drawn pond: the same bytes for a seed, boxes exactly around what is seen."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from tests.present import present

from eightgig.core.errors import ConfigurationError
from eightgig.core.seeding import seed_from
from eightgig.data.samples import scenes
from eightgig.data.samples.sample_video import video_frames, write_sample_video


def test_the_same_seed_gives_the_same_bytes_and_any_image_alone():
    first, second = list(scenes.render_scenes(3, seed=5)), list(scenes.render_scenes(3, seed=5))
    assert first == second
    assert [name for name, _, _ in first] == ["scene_0001.jpg", "scene_0002.jpg", "scene_0003.jpg"]
    assert first[0][1] != next(iter(scenes.render_scenes(1, seed=6)))[1]
    alone_HWC, boxes = scenes.render_scene(seed=seed_from(5, "scene", 2))
    decoded = present(cv2.imdecode(np.frombuffer(first[1][1], np.uint8), cv2.IMREAD_COLOR_RGB))
    assert decoded.shape == alone_HWC.shape
    assert np.abs(decoded.astype(int) - alone_HWC).mean() < 4
    assert [list(box[1:]) for box in first[1][2]] == boxes.xyxy_M4.tolist()


def test_boxes_are_inside_and_each_kind_appears():
    kinds = set()
    for _, jpeg, boxes in scenes.render_scenes(12, seed=1):
        height, width = present(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)).shape[:2]
        assert boxes
        for label, left, top, right, bottom in boxes:
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            kinds.add(label)
    assert kinds == set(range(len(scenes.CLASSES)))


def test_a_box_encloses_what_its_thing_alone_changes():
    """Lay one thing on an empty image: the changed pixels that it covers and the box agree."""
    rng = np.random.default_rng(3)
    height, width = 160, 200
    (thing,) = [t for t in scenes._arrange(rng, height, width, (0.6, -0.8)) if t.label != scenes.NO_CLASS][:1]
    image = np.zeros((height, width, 3), np.float32)
    scenes.lay_thing(image, thing.placed)
    boxes, _ = scenes.visible_boxes([thing], height, width)
    rows, columns = np.nonzero(image.sum(2) > 0.3)
    left, top, right, bottom = boxes.xyxy_M4[0]
    inside = (columns >= left - 2) & (columns < right + 2) & (rows >= top - 2) & (rows < bottom + 2)
    assert inside.all()
    assert columns.min() <= left + 3
    assert columns.max() >= right - 4


def test_hidden_things_have_no_box():
    rng = np.random.default_rng(0)
    things = [t for t in scenes._arrange(rng, 160, 160, (0.6, -0.8)) if t.label != scenes.NO_CLASS]
    below, above = things[0], things[0]._replace(label=(things[0].label + 1) % len(scenes.CLASSES))
    boxes, shares = scenes.visible_boxes([below, above], 160, 160)
    assert boxes.labels_M.tolist() == [above.label]
    assert shares[0] < scenes.LEAST_VISIBLE


def test_wrong_sizes_are_refused():
    with pytest.raises(ConfigurationError, match="wanted 64 <= shortest"):
        scenes.render_scene(seed=0, image_side_px=(20, 40))
    with pytest.raises(ConfigurationError, match="sample video"):
        next(video_frames(0, seed=0))


def test_the_video_moves_smoothly_and_its_boxes_with_it(tmp_path):
    frames = list(video_frames(4, seed=2, size=(160, 120)))
    again = list(video_frames(4, seed=2, size=(160, 120)))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(frames, again, strict=True))
    assert frames[0][0].shape == (120, 160, 3)
    assert not np.array_equal(frames[0][0], frames[3][0])
    for before, after in pairwise(frames):
        if before[1].labels_M.tolist() == after[1].labels_M.tolist():
            assert np.abs(before[1].xyxy_M4 - after[1].xyxy_M4).max() < 12
    write_sample_video(tmp_path / "pond.mp4", 3, seed=2, fps=30, size=(160, 120))
    capture = cv2.VideoCapture(str(tmp_path / "pond.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
