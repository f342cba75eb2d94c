"""The object detector: YOLOv5 on annotated images, from files to real-time video (article 5.2)."""

from kedro.pipeline import Pipeline

from eightgig.stages import benchmark, compress, export, plan, report, train
from eightgig.stages.task import case_pipeline
from eightgig.tasks.detection import ingest, predict, tiles
from eightgig.tasks.detection.evaluate import evaluation
from eightgig.tasks.detection.report import DetectionResults
from eightgig.tasks.detection.suppressed import suppression
from eightgig.tasks.detection.task import ObjectDetector
from eightgig.tasks.detection.video import node as video


def detector_pipeline(name: str) -> Pipeline:
    """Return the whole case study under its name; each stage runs alone by its tag, for example `--tags video`."""
    task = ObjectDetector()
    return case_pipeline(
        name,
        [
            ingest.create_pipeline(),
            plan.create_pipeline(task),
            train.create_pipeline(task),
            compress.create_pipeline(task),
            export.create_pipeline(task, suppression()),
            benchmark.create_pipeline(task, evaluation(task)),
            predict.create_pipeline(task),
            video.create_pipeline(),
            tiles.create_pipeline(task),
            report.create_pipeline(DetectionResults()),
        ],
    )
