"""The semantic segmenter: U-Net from pictures with masks to images of any size (article 2.1.2, 3.1.2)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline


def create_pipeline() -> "Pipeline":
    """Return the case study's pipeline; a process that only trains imports neither its other stages nor its pages."""
    from eightgig.pipelines.semantic_segmenter import pipeline

    return pipeline.create_pipeline()
