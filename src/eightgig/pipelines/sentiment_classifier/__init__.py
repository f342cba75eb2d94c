"""Texts by their sentiment: BERT and its kin, from reviews to a page."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline


def create_pipeline() -> "Pipeline":
    """Return the case study's pipeline; a process that only trains imports neither its other stages nor its pages."""
    from eightgig.pipelines.sentiment_classifier import pipeline

    return pipeline.create_pipeline()
