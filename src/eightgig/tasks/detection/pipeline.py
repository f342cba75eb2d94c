"""The object detector: YOLOv5 on annotated images, from files to real-time video (article 5.2)."""

from kedro.pipeline import Node, Pipeline

from eightgig.stages import benchmark, compress, export, plan, report, train
from eightgig.stages.ingest import image_ingest
from eightgig.stages.task import case_pipeline, stage_node
from eightgig.tasks.detection import predict, tiles
from eightgig.tasks.detection.evaluate import RESULTS, evaluate
from eightgig.tasks.detection.ingest import AnnotatedImages
from eightgig.tasks.detection.predict import DetectorPredictParameters
from eightgig.tasks.detection.report import DetectionResults
from eightgig.tasks.detection.task import ObjectDetector
from eightgig.tasks.detection.video import node as video


def detector_pipeline(name: str) -> Pipeline:
    """Return the whole case study under its name; each stage runs alone by its tag, for example `--tags video`."""
    task = ObjectDetector()
    return case_pipeline(
        name,
        [
            image_ingest(AnnotatedImages()),
            plan.create_pipeline(task),
            train.create_pipeline(task),
            compress.create_pipeline(task),
            export.create_pipeline(task, suppression()),
            benchmark.create_pipeline(task, evaluate, RESULTS),
            predict.create_pipeline(task),
            video.create_pipeline(),
            tiles.create_pipeline(task),
            report.create_pipeline(DetectionResults()),
        ],
    )


def suppression() -> Node:
    """Return the export's node from `onnx_fp32` to `onnx_suppressed`."""
    return stage_node(suppress_inside, {"onnx_fp32": "onnx_fp32", "predict": "params:predict"}, "onnx_suppressed")


def suppress_inside(onnx_fp32: bytes, predict: DetectorPredictParameters) -> bytes:
    """Return the float32 file with non-maximum suppression inside, as `predict` would do it."""
    from eightgig.tasks.detection.suppression import with_suppression

    return with_suppression(
        onnx_fp32, confidence=predict.confidence, iou=predict.iou, max_detections=predict.max_detections
    )
