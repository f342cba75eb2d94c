"""Images by their class: ResNet-50, from class folders or ImageNet to a page."""

from eightgig.pipelines.image_classifier.pipeline import create_pipeline

__all__ = ["create_pipeline"]
