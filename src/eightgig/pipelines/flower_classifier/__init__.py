"""Flowers by their photo."""

from eightgig.pipelines.flower_classifier.pipeline import create_pipeline

__all__ = ["create_pipeline"]
