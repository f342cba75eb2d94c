"""The flower classifier: EfficientNet on photos of flowers, from a folder to a page (article 5.1, 3.2.2, 4.2)."""

from kedro.pipeline import Pipeline

from eightgig.tasks.classification.pipeline import classifier_pipeline
from eightgig.tasks.classification.task import ImageClassifier


def create_pipeline() -> Pipeline:
    """Return the whole case study; each stage runs alone by its tag, for example `--tags train`."""
    return classifier_pipeline("flower_classifier", ImageClassifier())
