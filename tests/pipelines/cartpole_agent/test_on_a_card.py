"""The agent on a card: its decisions are made where its networks are, and come back to the environment."""

import numpy as np
import pytest
import torch

from eightgig.core.tracker import NoTracker
from eightgig.models.agents import AgentParameters, EnvironmentParameters, Spaces
from eightgig.tasks.reinforcement import nodes
from eightgig.tasks.reinforcement.environments import spaces_of
from eightgig.tasks.reinforcement.model import build_agent, greedy_policy
from eightgig.tasks.reinforcement.parameters import PPOParameters
from eightgig.tasks.reinforcement.train import train_agents

CARTPOLE = EnvironmentParameters(name="CartPole-v1")


@pytest.mark.parametrize("acts", ["discrete", "box"])
def test_decisions_are_made_where_the_agent_is(acts, monkeypatch):
    """On `meta`, which has no values; what comes back from it is stood in for."""
    low, high = ((), ()) if acts == "discrete" else ((-1.0, -1.0), (1.0, 1.0))
    spaces = Spaces(observes="box", num_observations=4, num_actions=2, acts=acts, low=low, high=high)
    agent = build_agent(spaces, AgentParameters()).to("meta")
    came_back = []

    def cpu(tensor):
        came_back.append(tensor.device.type)
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    actions = greedy_policy(agent, spaces)(np.zeros((3, 4), dtype=np.float32))
    assert isinstance(actions, np.ndarray)
    assert actions.shape == ((3,) if acts == "discrete" else (3, 2))
    assert came_back == ["meta"]


@pytest.mark.gpu
def test_an_agent_is_trained_and_judged_on_a_card(tmp_path):
    recipe = PPOParameters(device="cuda", steps=2048, num_seeds=1)
    from eightgig.tasks.reinforcement.parameters import EvaluateParameters

    evaluate = EvaluateParameters(episodes=3)
    exploration = nodes.explore(CARTPOLE, evaluate)
    weights, curve = train_agents(CARTPOLE, AgentParameters(), recipe, exploration, tmp_path, NoTracker())
    assert all(tensor.device.type == "cpu" for tensor in weights.state.values())
    assert len(curve) > 0
    assert spaces_of(CARTPOLE) == exploration.spaces
