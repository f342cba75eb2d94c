"""Texts by their sentiment: BERT and its kin, from reviews to a page."""

from kedro.pipeline import Pipeline

from eightgig.tasks.text.classification.pipeline import text_classifier_pipeline


def create_pipeline() -> Pipeline:
    """Return the whole case study; each stage runs alone by its tag, for example `--tags train`."""
    return text_classifier_pipeline("sentiment_classifier")
