"""Boxes on images and the detector's figures, on small tables."""

import numpy as np
import pandas as pd

from eightgig.data.store.boxes import Boxes
from eightgig.tasks.detection import figures as detections
from eightgig.tasks.detection.detections import Detections

IMAGE = np.zeros((80, 120, 3), np.uint8)


def has(image_HWC, colour):
    return bool((np.abs(image_HWC.astype(int) - colour).sum(2) < 30).any())


def test_hits_misses_and_false_alarms_have_their_colours():
    corners = {"x1": 10.0, "y1": 10.0, "x2": 60.0, "y2": 60.0}
    for kind, colour in {"hit": (79, 163, 107), "miss": (240, 150, 40), "false alarm": (214, 60, 60)}.items():
        drawn = detections.draw_found(IMAGE, pd.DataFrame([{"kind": kind, "class_name": "cup", **corners}]))
        assert has(drawn, colour)
        assert min(drawn.shape[:2]) >= 240  # enlarged, so that names can be read
    assert IMAGE.max() == 0


def test_truth_and_detections_are_drawn_on_copies():
    boxes_M4, labels_M = np.array([[5, 5, 50, 50]], np.float32), np.array([1])
    truth = detections.draw_truth(IMAGE, Boxes(boxes_M4, labels_M), ["cup", "pen"])
    found = detections.draw_detections(
        IMAGE, Detections(boxes_M4, np.array([0.5], np.float32), labels_M), ["cup", "pen"]
    )
    assert truth.max() > 0
    assert found.max() > 0
    assert IMAGE.max() == 0


def test_curves_and_classes():
    curves = pd.DataFrame({"class": ["cup"] * 2 + ["pen"] * 2, "recall": [0, 1] * 2, "precision": [1, 0.5, 1, 0.2]})
    assert [trace.name for trace in detections.pr_curves(curves).data] == ["cup", "pen"]
    table = pd.DataFrame(
        {"class": ["cup", "pen", "ink"], "boxes": [3, 4, 0], "ap50": [0.5, 0.2, None], "ap50_95": [0.3, 0.1, None]}
    )
    figure = detections.per_class_ap(table)
    assert list(figure.data[0].y) == ["pen (4)", "cup (3)"]  # the class without boxes is left out


def test_frames_and_milliseconds():
    benchmark = pd.DataFrame(
        {
            "variant": ["torch", "onnx", "engine"],
            "latency_p50_ms": [20.0, 10.0, None],
            "end_to_end_ms": [25.0, 12.5, None],
        }
    )
    figure = detections.frames_per_second(benchmark)
    assert list(figure.data[0].y) == ["onnx", "torch"]
    assert list(figure.data[0].x) == [100, 50]
    assert list(figure.data[1].x) == [80, 40]
    bar = detections.milliseconds({"decode": 2.0, "infer": 10.0, "draw": 0.1})
    assert [(trace.name, trace.x[0], trace.text) for trace in bar.data] == [
        ("decode", 2.0, "2.0"),
        ("infer", 10.0, "10.0"),
        ("draw", 0.1, ""),
    ]
