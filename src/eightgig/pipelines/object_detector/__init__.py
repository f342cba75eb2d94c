"""The object detector: YOLOv5 from annotated pictures to real-time video (article 5.2)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline


def create_pipeline() -> "Pipeline":
    """Return the case study's pipeline; a process that only trains imports neither its other stages nor its pages."""
    from eightgig.pipelines.object_detector import pipeline

    return pipeline.create_pipeline()
