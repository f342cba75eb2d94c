import numpy as np

from eightgig.tasks.detection.detections import Detections
from eightgig.tasks.detection.video.tracking import Tracker

Row = tuple[int, float, float]  # label, left, top of a box of 20 x 20


def seen(*rows: Row) -> Detections:
    boxes = [(left, top, left + 20, top + 20) for _, left, top in rows]
    labels = np.array([label for label, *_ in rows], np.int64)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(rows), np.float32), labels)


def test_objects_keep_their_numbers_whatever_their_order() -> None:
    tracker = Tracker()
    assert tracker.update(seen((0, 0, 0), (0, 100, 0))).tolist() == [1, 2]
    assert tracker.update(seen((0, 104, 0), (0, 5, 2))).tolist() == [2, 1]
    assert tracker.update(seen((0, 10, 4), (0, 108, 0), (0, 200, 0))).tolist() == [1, 2, 3]


def test_pairs_are_chosen_together_not_one_by_one() -> None:
    """The first detection overlaps object 1 most, but then the second would have none."""
    tracker = Tracker(iou=0.2)
    tracker.update(seen((0, 0, 0), (0, 0, 12)))
    assert tracker.update(seen((0, 0, 5), (0, 0, -6))).tolist() == [2, 1]


def test_another_class_is_another_object() -> None:
    tracker = Tracker()
    assert tracker.update(seen((0, 0, 0))).tolist() == [1]
    assert tracker.update(seen((1, 0, 0))).tolist() == [2]
    assert tracker.update(seen((1, 0, 0), (0, 0, 0))).tolist() == [2, 1]


def test_an_object_is_found_again_until_it_is_forgotten() -> None:
    tracker = Tracker(forget_after=3)
    tracker.update(seen((0, 0, 0)))
    for _ in range(3):
        assert tracker.update(seen()).tolist() == []
    assert tracker.update(seen((0, 2, 0))).tolist() == [1]
    for _ in range(4):
        tracker.update(seen())
    assert tracker.update(seen((0, 2, 0))).tolist() == [2]


def test_memory_stays_flat() -> None:
    tracker = Tracker(forget_after=5)
    for frame in range(200):
        tracker.update(seen((0, 50.0 * frame, 0)))
    assert len(tracker._ids_T) == 6
