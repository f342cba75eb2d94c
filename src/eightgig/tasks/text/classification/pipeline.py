"""The sentiment classifier: BERT and its kin on texts with labels (article 2.2.1)."""

from kedro.pipeline import Pipeline

from eightgig.stages import benchmark, export, plan, report, train
from eightgig.stages.class_metrics import RESULTS, evaluate
from eightgig.stages.task import case_pipeline
from eightgig.tasks.text.classification import ingest, predict
from eightgig.tasks.text.classification.report import SentimentResults
from eightgig.tasks.text.classification.task import SentimentClassifier
from eightgig.tasks.text.task import dynamic_int8


def text_classifier_pipeline(name: str) -> Pipeline:
    """Return the whole case study under its name; each stage runs alone by its tag, for example `--tags predict`."""
    task = SentimentClassifier()
    return case_pipeline(
        name,
        [
            ingest.create_pipeline(),
            plan.create_pipeline(task),
            train.create_pipeline(task),
            export.create_pipeline(task, compressed=dynamic_int8()),
            benchmark.create_pipeline(task, evaluate, RESULTS),
            predict.create_pipeline(task),
            report.create_pipeline(SentimentResults(), compressed=False),
        ],
    )
