"""The flower classifier: EfficientNet on photos of flowers, from a folder to a page (article 5.1, 3.2.2, 4.2)."""

from kedro.pipeline import Pipeline

from eightgig.pipelines.flower_classifier.nodes import FlowerClassifier
from eightgig.stages import benchmark, compress, export, ingest, plan, predict, report, train
from eightgig.stages.case import case_pipeline


def create_pipeline() -> Pipeline:
    """Give the whole case study; each stage runs alone by its tag, for example `--tags train`."""
    case = FlowerClassifier()
    return case_pipeline(
        "flower_classifier",
        [
            ingest.create_pipeline(),
            plan.create_pipeline(case),
            train.create_pipeline(case),
            compress.create_pipeline(case),
            export.create_pipeline(case),
            benchmark.create_pipeline(case),
            predict.create_pipeline(case),
            report.create_pipeline(),
        ],
    )
