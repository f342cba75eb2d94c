"""The object detector: YOLOv5 on annotated images, from files to real-time video (article 5.2)."""

from kedro.pipeline import Pipeline

from eightgig.stages import benchmark, compress, export, plan, report, train
from eightgig.stages.case import case_pipeline
from eightgig.tasks.detection import ingest, predict, tiles
from eightgig.tasks.detection.case import ObjectDetector
from eightgig.tasks.detection.evaluate import evaluation
from eightgig.tasks.detection.report import DetectionResults
from eightgig.tasks.detection.suppressed import suppression
from eightgig.tasks.detection.video import node as video


def detector_pipeline(name: str) -> Pipeline:
    """Return the whole case study under its name; each stage runs alone by its tag, for example `--tags video`."""
    case = ObjectDetector()
    return case_pipeline(
        name,
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
