"""Text from a language model: GPT-2, from plain texts to pages of new text."""

from eightgig.pipelines.text_generator.pipeline import create_pipeline

__all__ = ["create_pipeline"]
