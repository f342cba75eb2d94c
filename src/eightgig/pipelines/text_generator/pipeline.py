"""Text from a language model: GPT-2, from plain texts to pages of new text."""

from kedro.pipeline import Pipeline

from eightgig.tasks.text.generation.pipeline import text_generator_pipeline


def create_pipeline() -> Pipeline:
    """Return the whole case study; each stage runs alone by its tag, for example `--tags train`."""
    return text_generator_pipeline("text_generator")
