"""The object detector: YOLOv5 on annotated pictures, from files to real-time video (article 5.2)."""

from kedro.pipeline import Pipeline

from eightgig.pipelines.object_detector import ingest, predict, tiles, video
from eightgig.pipelines.object_detector.evaluate import evaluation
from eightgig.pipelines.object_detector.nodes import ObjectDetector
from eightgig.pipelines.object_detector.results import DetectionResults
from eightgig.pipelines.object_detector.suppressed import suppression
from eightgig.stages import benchmark, compress, export, plan, report, train
from eightgig.stages.case import case_pipeline


def create_pipeline() -> Pipeline:
    """Give the whole case study; each stage runs alone by its tag, for example `--tags video`."""
    case = ObjectDetector()
    return case_pipeline(
        "object_detector",
        [
            ingest.create_pipeline(),
            plan.create_pipeline(case),
            train.create_pipeline(case),
            compress.create_pipeline(case),
            export.create_pipeline(case, suppression()),
            benchmark.create_pipeline(case, evaluation(case)),
            predict.create_pipeline(case),
            video.create_pipeline(),
            tiles.create_pipeline(case),
            report.create_pipeline(DetectionResults()),
        ],
    )
