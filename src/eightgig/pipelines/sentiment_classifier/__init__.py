"""Texts by their sentiment: BERT and its kin, from reviews to a page."""

from eightgig.pipelines.sentiment_classifier.pipeline import create_pipeline

__all__ = ["create_pipeline"]
