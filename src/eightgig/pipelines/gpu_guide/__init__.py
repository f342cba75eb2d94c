"""What fits on which card, at what speed."""

from eightgig.pipelines.gpu_guide.pipeline import create_pipeline

__all__ = ["create_pipeline"]
