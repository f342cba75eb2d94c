"""The semantic segmenter: U-Net from images with masks to images of any size (article 2.1.2, 3.1.2)."""

from kedro.pipeline import Pipeline

from eightgig.tasks.segmentation.pipeline import segmenter_pipeline


def create_pipeline() -> Pipeline:
    """Return the whole case study; each stage runs alone by its tag, for example `--tags train`."""
    return segmenter_pipeline("semantic_segmenter")
