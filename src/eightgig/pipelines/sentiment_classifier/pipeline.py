"""The sentiment classifier: BERT and its kin on texts with labels (article 2.2.1)."""

from kedro.pipeline import Pipeline

from eightgig.pipelines.sentiment_classifier import ingest, predict
from eightgig.pipelines.sentiment_classifier.nodes import SentimentClassifier
from eightgig.pipelines.sentiment_classifier.results import SentimentResults
from eightgig.stages import benchmark, export, plan, report, train
from eightgig.stages.case import case_pipeline
from eightgig.stages.classification.evaluate import evaluation
from eightgig.stages.text import dynamic_int8


def create_pipeline() -> Pipeline:
    """Give the whole case study; each stage runs alone by its tag, for example `--tags predict`."""
    case = SentimentClassifier()
    return case_pipeline(
        "sentiment_classifier",
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
