"""The object detector: YOLOv5 from annotated images to real-time video (article 5.2)."""

from eightgig.pipelines.object_detector.pipeline import create_pipeline

__all__ = ["create_pipeline"]
