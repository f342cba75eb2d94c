"""The policy's and the value's network of an agent."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from eightgig.core.seeding import seed_from
from eightgig.models.agents import AgentParameters, Floats, Spaces

_FURTHEST = 10.0  # deviations from the mean; as in VecNormalize of Stable-Baselines3


class ActorCritic(nn.Module):
    """Two networks over the same observations, which share no layer.

    Weights are orthogonal and biases zero; the policy's last layer is small, so that all actions are about as likely in
    the beginning (Andrychowicz et al., What Matters In On-Policy Reinforcement Learning, 2020, section 3.2).

    Args:
        num_observations: numbers that are observed.
        num_actions: logits of a discrete policy, means of a continuous one.
        hidden: units of each hidden layer.
        continuous: whether the policy is normal, with a deviation a number that does not depend on what is observed.
    """

    def __init__(
        self,
        num_observations: int,
        num_actions: int,
        *,
        hidden: Sequence[int] = (128, 128),
        activation: Literal["tanh", "relu"] = "tanh",
        continuous: bool = False,
    ) -> None:
        super().__init__()
        self.policy = _perceptron(num_observations, hidden, num_actions, activation, last_gain=0.01)
        self.value = _perceptron(num_observations, hidden, 1, activation, last_gain=1.0)
        self.log_std = nn.Parameter(torch.zeros(num_actions)) if continuous else None
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(num_observations))
        self.register_buffer("std", torch.ones(num_observations))

    def scaled(self, observations: Tensor) -> Tensor:
        """Return observations less `mean`, divided by `std`, none further than 10 from zero."""
        return ((observations - self.mean) / self.std).clamp(-_FURTHEST, _FURTHEST)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, num_actions) logits or means, and (N,) values, for (N, num_observations) scaled observations."""
        return self.policy(observations), self.value(observations).squeeze(-1)


class DeployedPolicy(nn.Module):
    """What is exported: from observations as the environment shows them to the best action.

    A discrete action is an int64 of shape (N,); real ones are float32 (N, num_actions), inside of their bounds.
    """

    def __init__(self, agent: ActorCritic, low: Sequence[float] = (), high: Sequence[float] = ()) -> None:
        super().__init__()
        self.agent = agent
        self.low: Tensor
        self.high: Tensor
        self.register_buffer("low", torch.tensor(low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(high, dtype=torch.float32))

    def forward(self, observations: Tensor) -> Tensor:
        """Return the best actions."""
        outputs: Tensor = self.agent.policy(self.agent.scaled(observations))
        if self.agent.log_std is None:
            return outputs.argmax(-1)
        return outputs.clamp(self.low, self.high)


def build_agent(spaces: Spaces, parameters: AgentParameters, *, seed: int = 0) -> ActorCritic:
    """Return the networks for an environment, with the weights that belong to a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_from(seed, "weights"))
        return ActorCritic(
            spaces.num_observations,
            spaces.num_actions,
            hidden=parameters.hidden,
            activation=parameters.activation,
            continuous=spaces.acts == "box",
        )


def greedy_policy(agent: ActorCritic, spaces: Spaces) -> Callable[[Floats], Any]:
    """Return the policy that always takes the best action; it decides where the agent is, which may be a card."""
    device = agent.mean.device
    policy = DeployedPolicy(agent, spaces.low, spaces.high).to(device).eval()

    def best_actions(observations: Floats) -> Any:
        with torch.inference_mode():
            return policy(torch.from_numpy(observations).to(device)).cpu().numpy()

    return best_actions


class _QuickTanh(torch.autograd.Function):
    """Hyperbolic tangent as 2 sigmoid(2x) - 1, which differs from torch's by rounding.

    On CPUs torch computes a sigmoid about six times as fast as a tanh, and a sixth of an agent's training was tanh.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """Return the tangents."""
        tangents = (2 * values).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(tangents)
        return tangents

    @staticmethod
    def backward(ctx: Any, gradients: Tensor) -> Tensor:
        """Return what the values' gradients are."""
        (tangents,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(gradients, tangents)


class Tanh(nn.Module):
    """As `nn.Tanh`, and quick where it is trained on the CPU; without gradients it is torch's own."""

    def forward(self, values: Tensor) -> Tensor:
        """Return the tangents."""
        if not torch.is_grad_enabled() or values.device.type != "cpu":
            return values.tanh()
        tangents: Tensor = _QuickTanh.apply(values)
        return tangents


def _perceptron(
    num_inputs: int, hidden: Sequence[int], num_outputs: int, activation: str, *, last_gain: float
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [_linear(num_inputs, size, math.sqrt(2)), Tanh() if activation == "tanh" else nn.ReLU()]
        num_inputs = size
    return nn.Sequential(*layers, _linear(num_inputs, num_outputs, last_gain))


def _linear(num_inputs: int, num_outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(num_inputs, num_outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
