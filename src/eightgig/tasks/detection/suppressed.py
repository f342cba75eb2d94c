"""The exported file that suppresses overlaps itself, for programs that have no suppression of their own."""

from kedro.pipeline import Node

from eightgig.stages.task import stage_node
from eightgig.tasks.detection.predict import DetectorPredictParameters


def suppression() -> Node:
    """Return the export's node from `onnx_fp32` to `onnx_suppressed`."""
    return stage_node(suppress_inside, {"onnx_fp32": "onnx_fp32", "predict": "params:predict"}, "onnx_suppressed")


def suppress_inside(onnx_fp32: bytes, predict: DetectorPredictParameters) -> bytes:
    """Return the float32 file with non-maximum suppression inside, as `predict` would do it."""
    from eightgig.tasks.detection.suppression import with_suppression

    return with_suppression(
        onnx_fp32, confidence=predict.confidence, iou=predict.iou, max_detections=predict.max_detections
    )
