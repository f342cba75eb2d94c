"""Text from a language model: GPT-2, from plain texts to pages of new text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline


def create_pipeline() -> "Pipeline":
    """Return the case study's pipeline; a process that only trains imports neither its other stages nor its pages."""
    from eightgig.pipelines.text_generator import pipeline

    return pipeline.create_pipeline()
