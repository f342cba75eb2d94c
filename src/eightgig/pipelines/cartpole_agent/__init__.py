"""An agent that learns to act: proximal policy optimisation in CartPole, or in any gymnasium environment."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline


def create_pipeline() -> "Pipeline":
    """Return the case study's pipeline; a process that only trains imports neither its other stages nor its pages."""
    from eightgig.pipelines.cartpole_agent import pipeline

    return pipeline.create_pipeline()
