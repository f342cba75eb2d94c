"""The semantic segmenter: U-Net from images with masks to images of any size (article 2.1.2, 3.1.2)."""

from eightgig.pipelines.semantic_segmenter.pipeline import create_pipeline

__all__ = ["create_pipeline"]
