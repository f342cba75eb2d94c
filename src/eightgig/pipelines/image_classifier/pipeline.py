"""The image classifier: ResNet-50, or any other, on pictures in class folders or on ImageNet (article 2.1.1)."""

from kedro.pipeline import Pipeline

from eightgig.pipelines.image_classifier.results import ThroughputResults
from eightgig.stages.classification.case import PictureClassifier
from eightgig.stages.classification.pipeline import classifier_pipeline


def create_pipeline() -> Pipeline:
    """Give the whole case study; each stage runs alone by its tag, for example `--tags train`."""
    return classifier_pipeline("image_classifier", PictureClassifier(), ThroughputResults())
