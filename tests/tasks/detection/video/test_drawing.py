import numpy as np

from eightgig.tasks.detection.video.drawing import CLASS_COLOURS, class_colours, draw_boxes, line_width


def test_a_box_is_painted_on_its_edges_and_nowhere_inside() -> None:
    image_HWC = np.zeros((300, 300, 3), np.uint8)
    draw_boxes(image_HWC, np.array([[50, 60, 200, 180]], np.float32), [""], [(1, 2, 3)])
    rows, columns = np.nonzero(image_HWC.any(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (60, 179, 50, 199)
    assert not image_HWC[70:170, 60:190].any()
    assert image_HWC[60, 100].tolist() == [1, 2, 3]


def test_a_caption_stays_in_the_image_wherever_the_box_is() -> None:
    boxes = np.array([[0, 0, 60, 60], [270, 0, 300, 30], [0, 270, 30, 300], [280, 280, 340, 340]], np.float32)
    for box in boxes:
        image_HWC = np.zeros((300, 300, 3), np.uint8)
        draw_boxes(image_HWC, box[None], ["mug 12  0.93"], [(200, 0, 0)])
        assert (image_HWC.min(axis=2) > 100).sum() > 40  # letters
        assert (image_HWC == (200, 0, 0)).all(axis=2).sum() > 600  # their ground


def test_the_best_lies_on_top() -> None:
    image_HWC = np.zeros((300, 300, 3), np.uint8)
    box = np.array([[50, 60, 200, 180]] * 2, np.float32)
    draw_boxes(image_HWC, box, ["", ""], [(1, 1, 1), (2, 2, 2)])
    assert image_HWC[60, 100].tolist() == [1, 1, 1]


def test_lines_grow_with_the_image() -> None:
    assert [line_width(np.zeros((side, side, 3), np.uint8)) for side in (160, 640, 2160)] == [1, 3, 10]


def test_colours_follow_the_class_and_begin_again() -> None:
    labels = np.array([0, 1, len(CLASS_COLOURS)])
    assert class_colours(labels) == [CLASS_COLOURS[0], CLASS_COLOURS[1], CLASS_COLOURS[0]]
    assert class_colours(labels, bgr=True)[0] == CLASS_COLOURS[0][::-1]
