"""An agent that learns to act: proximal policy optimisation in CartPole, or in any gymnasium environment."""

from eightgig.pipelines.cartpole_agent.pipeline import create_pipeline

__all__ = ["create_pipeline"]
