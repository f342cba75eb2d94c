"""The object detector: YOLOv5 from annotated images to real-time video (article 5.2)."""

from kedro.pipeline import Pipeline

from eightgig.tasks.detection.pipeline import detector_pipeline


def create_pipeline() -> Pipeline:
    """Return the whole case study; each stage runs alone by its tag, for example `--tags train`."""
    return detector_pipeline("object_detector")
