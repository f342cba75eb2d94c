"""All stages of a classifier of images as one pipeline."""

from kedro.pipeline import Pipeline

from eightgig.stages import benchmark, compress, export, plan, report, train
from eightgig.stages.class_metrics import RESULTS, evaluate
from eightgig.stages.ingest import image_ingest
from eightgig.stages.report import Results
from eightgig.stages.task import Task, case_pipeline
from eightgig.tasks.classification import predict
from eightgig.tasks.classification.ingest import ClassifiedImages
from eightgig.tasks.classification.report import ClassificationResults


def classifier_pipeline(name: str, task: Task, results: Results | None = None) -> Pipeline:
    """Return the case study `name` from images in class folders to a page.

    Args:
        name: of the pipeline.
        task: builds and trains the network.
        results: its part of the page; None shows what every classifier has.
    """
    return case_pipeline(
        name,
        [
            image_ingest(ClassifiedImages()),
            plan.create_pipeline(task),
            train.create_pipeline(task),
            compress.create_pipeline(task),
            export.create_pipeline(task),
            benchmark.create_pipeline(task, evaluate, RESULTS),
            predict.create_pipeline(task),
            report.create_pipeline(results or ClassificationResults()),
        ],
    )
