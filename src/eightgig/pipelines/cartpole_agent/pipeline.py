"""An agent that learns to act: proximal policy optimisation in CartPole, or in any gymnasium environment."""

from kedro.pipeline import Pipeline

from eightgig.tasks.reinforcement.pipeline import agent_pipeline


def create_pipeline() -> Pipeline:
    """Return the whole case study; each stage runs alone by its tag, for example `--tags train`."""
    return agent_pipeline("cartpole_agent")
