"""All stages of a classifier of images as one pipeline."""

from kedro.pipeline import Pipeline

from eightgig.stages import benchmark, compress, export, ingest, plan, report, train
from eightgig.stages.case import Case, case_pipeline
from eightgig.stages.class_metrics import evaluation
from eightgig.stages.report import Results
from eightgig.tasks.classification import predict
from eightgig.tasks.classification.report import ClassificationResults


def classifier_pipeline(name: str, case: Case, results: Results | None = None) -> Pipeline:
    """Return the case study `name` from images in class folders to a page.

    Args:
        name: of the pipeline.
        case: builds and trains the network.
        results: its part of the page; None shows what every classifier has.
    """
    return case_pipeline(
        name,
        [
            ingest.create_pipeline(),
            plan.create_pipeline(case),
            train.create_pipeline(case),
            compress.create_pipeline(case),
            export.create_pipeline(case),
            benchmark.create_pipeline(case, evaluation(case)),
            predict.create_pipeline(case),
            report.create_pipeline(results or ClassificationResults()),
        ],
    )
