"""What a policy's outputs mean: how actions are drawn from them, and how likely an action is."""

import math
from typing import Protocol

import torch
from torch import Tensor

from eightgig.models.actor_critic import ActorCritic

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Actions(Protocol):
    """N actions at a time, from the policy's outputs of shape (N, num_actions)."""

    def draw(self, outputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw actions; give them with their log-probabilities (N,)."""

    def judge(self, outputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Give the log-probabilities (N,) of actions, and the entropy (N,) of the policy."""


class DiscreteActions:
    """One of several actions, by the softmax of logits."""

    def draw(self, outputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw actions (N,) int64."""
        log_probabilities = outputs.log_softmax(-1)
        actions = torch.multinomial(log_probabilities.exp(), 1, generator=generator)
        return actions.squeeze(-1), log_probabilities.gather(-1, actions).squeeze(-1)

    def judge(self, outputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Give log-probabilities and entropy."""
        log_probabilities = outputs.log_softmax(-1)
        entropy = -(log_probabilities.exp() * log_probabilities).sum(-1)
        return log_probabilities.gather(-1, actions.unsqueeze(-1)).squeeze(-1), entropy


class RealActions:
    """Real numbers, normal around the outputs, each with a deviation of its own that is learnt."""

    def __init__(self, log_std: Tensor) -> None:
        self._log_std = log_std

    def draw(self, outputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw actions (N, num_actions) float32; they may lie outside of the environment's bounds."""
        noise = torch.randn(outputs.shape, generator=generator, device=outputs.device)
        actions = outputs + noise * self._log_std.exp()
        return actions, self.judge(outputs, actions)[0]

    def judge(self, outputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Give log-probabilities and entropy, each summed over the numbers of an action."""
        off = (actions - outputs) / self._log_std.exp()
        log_probabilities = (-0.5 * off.square() - self._log_std - _HALF_LOG_2PI).sum(-1)
        entropy = (self._log_std + 0.5 + _HALF_LOG_2PI).sum().expand(len(outputs))
        return log_probabilities, entropy


def actions_of(agent: ActorCritic) -> Actions:
    """Give what an agent's outputs mean."""
    return DiscreteActions() if agent.log_std is None else RealActions(agent.log_std)
