"""The sentiment classifier: BERT and its kin on texts with labels (article 2.2.1)."""

from kedro.pipeline import Pipeline

from eightgig.stages import benchmark, export, plan, report, train
from eightgig.stages.case import case_pipeline
from eightgig.stages.class_metrics import evaluation
from eightgig.tasks.text.case import dynamic_int8
from eightgig.tasks.text.classification import ingest, predict
from eightgig.tasks.text.classification.case import SentimentClassifier
from eightgig.tasks.text.classification.report import SentimentResults


def text_classifier_pipeline(name: str) -> Pipeline:
    """Return the whole case study under its name; each stage runs alone by its tag, for example `--tags predict`."""
    case = SentimentClassifier()
    return case_pipeline(
        name,
        [
            ingest.create_pipeline(),
            plan.create_pipeline(case),
            train.create_pipeline(case),
            export.create_pipeline(case, compressed=dynamic_int8()),
            benchmark.create_pipeline(case, evaluation(case)),
            predict.create_pipeline(case),
            report.create_pipeline(SentimentResults(), compressed=False),
        ],
    )
