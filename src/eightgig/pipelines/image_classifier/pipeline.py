"""The image classifier: ResNet-50, or any other, on images in class folders or on ImageNet (article 2.1.1)."""

from kedro.pipeline import Pipeline

from eightgig.tasks.classification.pipeline import classifier_pipeline
from eightgig.tasks.classification.task import ImageClassifier
from eightgig.tasks.classification.throughput import ThroughputResults


def create_pipeline() -> Pipeline:
    """Return the whole case study; each stage runs alone by its tag, for example `--tags train`."""
    return classifier_pipeline("image_classifier", ImageClassifier(), ThroughputResults())
